"""The stories that the sandbox can play."""

from sandbox.stories import (
    current,
    entitled,
    identity,
    paperwork,
    recurring,
    renewals,
    revenue,
    schedules,
    status,
)
from sandbox.stories.registry import STORIES
from sandbox.stories.stage import Stage, Story, StoryBrokenError

_CHAPTERS = (status, current, renewals, revenue, identity, schedules, entitled, recurring, paperwork)

__all__ = ["STORIES", "Stage", "Story", "StoryBrokenError"]
