"""Clips made by several processes are those that one process makes."""

import numpy as np
import pytest

from animatediff_ext.toy.crew import Crew, Take
from animatediff_ext.toy.files import BASE
from animatediff_ext.toy.studio import Studio
