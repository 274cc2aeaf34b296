"""The contract of a `DocumentStore` as tests. The rule: nothing here knows which backend it tries.

A backend's test module says where to keep documents, and takes the tests in:

    from tensorfleet.testing.documents import *  # noqa: F403

    @pytest.fixture
    def documents_url(tmp_path): return f"sqlite:///{tmp_path}/documents.db"

The place is fresh for each test, and `open_documents` knows its scheme.
"""

from tensorfleet.testing.documents_crashes import *  # noqa: F403
from tensorfleet.testing.documents_drawn import *  # noqa: F403
from tensorfleet.testing.documents_journal import *  # noqa: F403
from tensorfleet.testing.documents_queries import *  # noqa: F403
from tensorfleet.testing.documents_steps import *  # noqa: F403
