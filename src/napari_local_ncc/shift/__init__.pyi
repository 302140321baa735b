from .dispatch import local_shift as local_shift
from .interpret import CLASSES as CLASSES
from .interpret import classify as classify
from .interpret import coherence as coherence
from .interpret import smoothed_shift as smoothed_shift
