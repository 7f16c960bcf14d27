"""The known files of this family: what they are for, where they come from, and how to get them."""

from animatediff_ext.catalogue.fetch import Fetched, fetch
from animatediff_ext.catalogue.hub import HubError
from animatediff_ext.catalogue.known import KNOWN, KnownFile, UnknownNameError, known_by_file_name, named, readable_size
from animatediff_ext.catalogue.places import Places, motion_module_folders

__all__ = [
    "KNOWN",
    "Fetched",
    "HubError",
    "KnownFile",
    "Places",
    "UnknownNameError",
    "fetch",
    "known_by_file_name",
    "motion_module_folders",
    "named",
    "readable_size",
]
