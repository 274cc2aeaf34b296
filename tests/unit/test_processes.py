"""What a process asks of the kernel for itself."""

import subprocess
import sys

PROGRAM = """
import resource
from tensorfleet.processes import open_many_files
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
assert open_many_files() == most
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most)
"""


def test_a_program_may_open_as_many_files_as_the_kernel_lets_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
