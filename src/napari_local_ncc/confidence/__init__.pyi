from .calibration import Calibration as Calibration
from .calibration import Threshold as Threshold
from .estimate import calibrate as calibrate
from .estimate import iter_calibrate as iter_calibrate
from .false_discovery import ConfidenceTally as ConfidenceTally
from .false_discovery import false_discovery_threshold as false_discovery_threshold
from .samples import effective_samples as effective_samples
from .samples import margin as margin
