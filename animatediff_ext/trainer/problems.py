"""What can go wrong that the user can mend: all of it is one sentence."""

from __future__ import annotations

from animatediff_ext.formats import FormatError
from animatediff_ext.inject import MisfitError
from animatediff_ext.media import MediaError
from animatediff_ext.setting import SettingsError
from animatediff_ext.standalone import SpatialModelError
from animatediff_ext.trainer.error import TrainError
from animatediff_ext.trainer.processes import SaidByMainError

OF_THE_USER = (TrainError, SettingsError, FormatError, SpatialModelError, MisfitError, MediaError, OSError)
SAID_ELSEWHERE = SaidByMainError
