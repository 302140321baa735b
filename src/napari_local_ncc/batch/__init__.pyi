from .compare import Settings as Settings
from .compare import compare_files as compare_files
from .pairs import FilePair as FilePair
from .pairs import pair_by_name as pair_by_name
from .pairs import read_pairs as read_pairs
from .place import place_evidence as place_evidence
from .results import write_results as write_results
from .run import run_batch as run_batch
