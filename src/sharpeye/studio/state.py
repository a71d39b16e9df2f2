"""The shared state of all pages of one studio; the state of the work itself is on disk."""

from pathlib import Path

from sharpeye.studio.background_jobs import BackgroundJobs
from sharpeye.studio.prediction_view import ModelCache
from sharpeye.studio.uploads import UploadIngest
from sharpeye.studio.url_list_download import UrlListDownload
from sharpeye.studio.workspace import Workspace


class StudioState:
    """The argument of every page's `add_routes`.

    Args:
        suggest: a model that proposes boxes on the page Label.
    """

    def __init__(self, workspace: Workspace, suggest: Path | None = None) -> None:
        self.workspace = workspace
        self.suggest = suggest
        self.jobs = BackgroundJobs()
        self.models = ModelCache()
        self.uploads = UploadIngest(workspace)
        self.downloads = UrlListDownload()

    def close(self) -> None:
        """Stop all background work."""
        self.downloads.close()
        self.uploads.close_folders()
        self.jobs.close()
