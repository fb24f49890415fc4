"""The stories that the sandbox can play, and the cases that it cannot."""

from subledger.sandbox.stories import status
from subledger.sandbox.stories.registry import STORIES
from subledger.sandbox.stories.stage import Stage, Story, StoryBrokenError

_CHAPTERS = (status,)

__all__ = ["STORIES", "Stage", "Story", "StoryBrokenError"]
