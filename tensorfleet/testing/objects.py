"""The contract of an `ObjectStore` as tests. The rule: nothing here knows which backend it tries.

A backend's test module says where to keep objects and how to damage one, and takes the tests in:

    from tensorfleet.testing.objects import *  # noqa: F403

    @pytest.fixture
    def objects_url(tmp_path): return f"file://{tmp_path}/objects"

    @pytest.fixture
    def overwrite(objects): ...  # an async function (digest, bytes) that writes other bytes in a blob's place

The place is fresh for each test, and `open_objects` knows its scheme.
"""

from tensorfleet.testing.objects_blobs import *  # noqa: F403
from tensorfleet.testing.objects_garbage import *  # noqa: F403
from tensorfleet.testing.objects_names import *  # noqa: F403
from tensorfleet.testing.objects_steps import *  # noqa: F403
