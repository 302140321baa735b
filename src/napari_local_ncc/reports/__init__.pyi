from .describe import describe_comparison as describe_comparison
from .describe import describe_registration as describe_registration
from .recipe import as_command_line as as_command_line
from .recipe import as_python as as_python
from .tables import frame_table as frame_table
from .tables import label_table as label_table
from .tables import write_csv as write_csv
from .vectors import vector_table as vector_table
