"""The stories that the sandbox can play."""

from subledger.sandbox.stories import (
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
from subledger.sandbox.stories.registry import STORIES
from subledger.sandbox.stories.stage import Stage, Story, StoryBrokenError

_CHAPTERS = (status, current, renewals, revenue, identity, schedules, entitled, recurring, paperwork)

__all__ = ["STORIES", "Stage", "Story", "StoryBrokenError"]
