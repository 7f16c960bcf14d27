from tests.command_line import python

PROGRAM = """
import sys, time
import numpy, PIL.Image, PIL.features  # what the host has loaded long before
start = time.process_time()  # however busy the machine is
import animatediff_ext.media
print(time.process_time() - start, *sorted({"av", "imageio", "torch", "gradio", "modules"} & set(sys.modules)))
"""


def test_importing_the_package_is_cheap_and_brings_no_codec_in():
    done = python("-c", PROGRAM)
    seconds, *brought_in = done.stdout.split()
    assert brought_in == []
    assert float(seconds) < 0.1
