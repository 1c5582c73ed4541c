"""What a caller of the tracking says once: where to track, and what a run is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.tracking.address import (
    DEFAULT_ARTIFACTS,
    DEFAULT_TRACKING_URI,
    check_tracking_uri,
    is_server,
    resolve_tracking_uri,
)
from experiments.tracking.names import clean_name
from experiments.tracking.spool import read_manifest


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What a run is called and described by."""

    name: str
    """Readable name; the UI shows 24 characters, so a longer one is cut in its middle."""
    params: Mapping[str, object] = field(default_factory=dict)
    """Flat parameters, such as `{"rewards.own_block": 0.03}`. MLflow can't change one later."""
    tags: Mapping[str, object] = field(default_factory=dict)
    """Tags, such as study, variant, seed, git commit, simulator version, Ray trial and job ids."""
    note: str = ""
    """Markdown shown on the run's page."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What comes with a report beside its metrics."""

    replays: str | None = None
    """Folder of replays to draw."""
    files: Sequence[str] = ()
    """Kept among the artifacts of a trial's last report, each under the name of its folder."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Set when they change."""
    alarm: str = ""
    """Markdown for the run's note; a new one has the replays drawn whenever the last were."""


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """Where a sweep is tracked."""

    study: str
    """Name of the MLflow experiment."""
    spool_dir: Path
    """Folder that holds what MLflow is yet to be told; one a sweep, and kept for a resume."""
    tracking_uri: str = DEFAULT_TRACKING_URI
    """MLflow's database or server."""
    artifact_root: str = DEFAULT_ARTIFACTS
    """Folder or URI of artifacts; not used with a server, which has its own."""
    root: Path = field(default_factory=Path.cwd)
    """Folder that relative paths in the other fields are under."""
    drain_timeout_s: float = 60.0
    """How long the end of a sweep waits for deliveries, in seconds."""
    memory_limit: int = 64 << 20
    """Bytes kept in memory while the disk of the spool is full."""

    def resolved(self) -> TrackerConfig:
        """Returns the config with absolute paths.

        Raises:
            ValueError: If an address or folder makes no sense; one sentence.
        """
        root, artifacts = self.root.absolute(), self.artifact_root
        problem = check_tracking_uri(self.tracking_uri, root)
        if problem:
            raise ValueError(problem)
        spool_dir = root / self.spool_dir
        try:
            spool_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"spool folder {str(spool_dir)!r} can't be made ({error.strerror}): name another."
            ) from error
        manifest = read_manifest(spool_dir)
        if manifest is not None and manifest.study != self.study:
            raise ValueError(
                f"spool folder {str(spool_dir)!r} belongs to the study {manifest.study!r}, not to "
                f"{self.study!r}: give every sweep a folder of its own."
            )
        return replace(
            self,
            spool_dir=spool_dir,
            tracking_uri=resolve_tracking_uri(self.tracking_uri, root),
            artifact_root=artifacts if "://" in artifacts else str(root / artifacts),
            root=root,
        )

    @property
    def artifact_location(self) -> str:
        """URI of the study's folder below `artifact_root`; empty with a server, which decides."""
        if is_server(self.tracking_uri):
            return ""
        base = self.artifact_root.rstrip("/")
        folder = f"{base}/{clean_name(self.study).replace('/', '-').replace(' ', '-')}"
        return folder if "://" in base else Path(folder).as_uri()
