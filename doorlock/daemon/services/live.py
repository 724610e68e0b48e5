"""Live view in a web page: a link that an `<img>` can show, for as long as its reader may see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from doorlock.daemon.services.frames import Frames
from doorlock.daemon.services.links import Links
from doorlock.daemon.services.pictures import Pictures, Reader, subject
from doorlock.errors import NotAuthenticated, NotFound

LINK_LIFE = timedelta(minutes=1)


class LiveView:
    """Streams of frames. A link is good for a minute to begin with; what runs goes on until the
    camera is seen no more, the reader is shut out, or their links are ended."""

    def __init__(self, frames: Frames, pictures: Pictures, links: Links) -> None:
        self._frames, self._pictures, self._links = frames, pictures, links

    def path(self, reader: Reader, device_id: str) -> str:
        """Where the stream is; whoever asks must have been let in before."""
        place = _place(device_id)
        return f"{place}?link={self._links.make(subject(reader), place, LINK_LIFE)}"

    async def opened(self, link: str, device_id: str) -> str:
        """Whom the link to this stream speaks for. Raises NotAuthenticated, NotFound."""
        whose = self._links.subject_of(link, _place(device_id))
        reader = await self._pictures.reader_of(whose)
        if not await self._pictures.sees(reader, device_id):
            raise NotFound("there is no such camera")
        return whose

    async def frames(self, whose: str, device_id: str) -> AsyncIterator[bytes]:
        """JPEGs, each as soon as it is there; asked anew before each whether it may be seen."""
        generation = self._links.generation(whose)
        async with self._frames.watch(device_id) as watch:
            while True:
                frame = await watch.next()
                if self._links.generation(whose) != generation:
                    return
                if not await self._still_sees(whose, device_id):
                    return
                yield frame

    async def _still_sees(self, whose: str, device_id: str) -> bool:
        try:
            return await self._pictures.sees(await self._pictures.reader_of(whose), device_id)
        except NotAuthenticated:
            return False


def _place(device_id: str) -> str:
    return f"/api/camera/stream/{device_id}"
