"""The project registry: which project a directory is, its store, and the index of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abathur._lazily import names_of

if TYPE_CHECKING:
    from abathur.projects.api import Projects
    from abathur.projects.changing import Repaired
    from abathur.projects.values import Project, ProjectEvent, Resolution, Root, WorkingDirectory

_VALUES = ("Project", "ProjectEvent", "Resolution", "Root", "WorkingDirectory")

__all__ = ["Project", "ProjectEvent", "Projects", "Repaired", "Resolution", "Root", "WorkingDirectory"]

__getattr__ = names_of(
    __name__,
    {
        "Projects": "abathur.projects.api",
        "Repaired": "abathur.projects.changing",
        **dict.fromkeys(_VALUES, "abathur.projects.values"),
    },
)
