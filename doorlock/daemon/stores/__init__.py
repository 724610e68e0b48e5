"""What keeps everything durable, behind `ports.Store`; a module or more for each kind of store."""

from __future__ import annotations
