"""The project registry: which project a directory is, its store, and the index of its files."""

from __future__ import annotations

from abathur.projects.api import Projects
from abathur.projects.changing import Repaired
from abathur.projects.values import Project, ProjectEvent, Resolution, Root, WorkingDirectory

__all__ = ["Project", "ProjectEvent", "Projects", "Repaired", "Resolution", "Root", "WorkingDirectory"]
