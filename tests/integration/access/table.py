"""What every route answers everybody, and how a cell is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from tests.integration.access.asks import ask_for
from tests.integration.access.cast import WHO, Cast
from tests.support.asgi import Answer, Client

# A status; `+` says that the answer tells of the door, `-` that nothing in it does. 401 and 404
# never do without a `+`. Behind `#` is what sets a row apart from others of its route.
TABLE = """
                                            nobody stranger view control admin owner operator device other expired disabled
GET /api/openapi.json                       200-   200-     200- 200-    200-  200-  200-     200-   200-  200-    200-
GET /api/version                            200-   200-     200- 200-    200-  200-  200-     200-   200-  200-    200-
GET /api/health                             200-   200-     200- 200-    200-  200-  200-     200-   200-  200-    200-
GET /api/health/detailed                    401    200-     200- 200-    200-  200-  200-     401    401   200-    401
GET /api/health/devices                     401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/health/metrics                     401    200-     200  200     200   200   200      401    401   200-    401
GET /api/config                             401    403      403  403     403   403   200      401    401   403     401
GET /metrics                                401    403      403  403     403   403   200-     401    401   403     401

POST /api/auth/register                     201-   201-     201- 201-    201-  201-  201-     201-   201-  201-    201-
POST /api/auth/register #invited            201+   201+     201+ 201+    201+  201+  201+     201+   201+  201+    201+
POST /api/auth/login                        401    200      200  200     200   200   200      401    401   200     401
GET /api/auth/me                            401    200      200  200     200   200   200      401    401   200     401
PUT /api/auth/password                      401    200      200  200     200   200   200      401    401   200     401
POST /api/auth/logout                       200-   200-     200- 200-    200-  200-  200-     200-   200-  200-    200-
GET /api/auth/tokens                        401    200      200  200     200   200   200      401    401   200     401
POST /api/auth/tokens                       401    201      201  201     201   201   201      401    401   201     401
DELETE /api/auth/tokens/{ref} #own          401    200      200  200     200   200   200      401    401   200     401
DELETE /api/auth/tokens/{ref} #guest        401    404      404  404     404   404   404      401    401   404     401
POST /api/auth/rotate-key                   401    403      403  403     403   403   200      401    401   403     401

GET /api/users                              401    200-     200- 200-    200-  200   200+     401    401   200-    401
POST /api/users                             401    403      403  403     403   403   201      401    401   403     401
GET /api/users/{ref} #own                   401    200      200  200     200   200   200      401    401   200     401
GET /api/users/{ref} #guest                 401    403      403  403     403   403   200      401    401   403     401
POST /api/users/{ref}/link                  401    403      403  403     403   403   200      401    401   403     401
POST /api/users/{ref}/password              401    403      403  403     403   403   200      401    401   403     401
POST /api/users/{ref}/disable               401    403      403  403     403   403   200      401    401   403     401
POST /api/users/{ref}/enable                401    403      403  403     403   403   200      401    401   403     401

GET /api/device                             401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/device/stats                       401    200      200  200     200   200   200      401    401   200     401
POST /api/device/register                   401    201-     201- 201-    201-  201   201-     401    401   201-    401
GET /api/device/{ref}                       401    404      200+ 200+    200+  200+  200+     401    401   404     401
PUT /api/device/{ref} #settings             401    404      403  200+    200+  200+  200+     401    401   404     401
PUT /api/device/{ref} #room                 401    404      403  403     200+  200+  200+     401    401   404     401
DELETE /api/device/{ref}                    401    404      403  403     403   200+  200+     401    401   404     401
GET /api/device/{ref}/qr                    401    404      403  403     200+  200+  200+     401    401   404     401
POST /api/device/{ref}/token/rotate         401    404      403  403     200+  200+  200+     401    401   404     401
POST /api/device/{ref}/token/revoke         401    404      403  403     200+  200+  200+     401    401   404     401
POST /api/device/activate                   401    400      400  400     400   400   400      200+   401   400     400
POST /api/device/validate                   401    400      400  400     400   400   400      200+   401   400     400
POST /api/device/{device_id}/heartbeat      401    401      401  401     401   401   401      200    403   401     401

GET /api/shares                             401    200-     200+ 200+    200+  200+  200+     401    401   200+    401
GET /api/device/{ref}/shares                401    404      403  403     200+  200+  200+     401    401   404     401
POST /api/device/{ref}/share                401    404      403  403     201+  201+  201+     401    401   404     401
POST /api/device/{ref}/share #himself       401    404      403  403     403   400   201+     401    401   404     401
POST /api/device/{ref}/share #invite        401    404      403  403     201+  201+  201+     401    401   404     401
POST /api/device/{ref}/share #dry           401    404      403  403     200+  200+  200+     401    401   404     401
DELETE /api/device/{ref}/share/{user} #guest 401   404      403  403     200+  200+  200+     401    401   404     401
DELETE /api/device/{ref}/share/{user} #own  401    404      200+ 200+    200+  404+  404+     401    401   404     401
GET /api/device/{ref}/access                401    404      403  403     200+  200+  200+     401    401   404     401
GET /api/device/{ref}/access #own           401    404      200+ 200+    200+  200+  200+     401    401   200+    401
GET /api/invitations                        401    200-     200- 200-    200+  200+  200+     401    401   200-    401
POST /api/invitations/accept                401    201+     409  409     409   400   201+     401    401   409     401
DELETE /api/invitations/{ref}               401    404      404  404     200+  200+  200+     401    401   404     401
GET /api/transfers                          401    200-     200- 200-    200-  200+  200+     401    401   200-    401
POST /api/device/{ref}/transfer             401    404      403  403     403   201+  201+     401    401   404     401
POST /api/device/{ref}/transfer/accept      401    404      404  404     404   404   404      401    401   404     401
POST /api/device/{ref}/transfer/accept #own 401    200+     200+ 200+    200+  404   200+     401    401   200+    401
DELETE /api/device/{ref}/transfer           401    404      403  403     403   200+  200+     401    401   404     401
DELETE /api/device/{ref}/transfer #own      401    200+     200+ 200+    200+  404+  200+     401    401   200+    401

POST /api/device/{ref}/command              401    403-     403  202+    202+  202+  202+     401    401   403-    401
POST /api/device/{ref}/command #dry         401    403-     403  200+    200+  200+  200+     401    401   403-    401
POST /api/device/{ref}/command #firmware    401    403-     403  202+    202+  202+  202+     401    401   403-    401
GET /api/command/history                    401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/command/{command_id}               401    404      200+ 200+    200+  200+  200+     401    401   404     401
POST /api/command/{command_id}/cancel       401    404      403  200+    200+  200+  200+     401    401   404     401
POST /api/command/open                      401    404      403  200+    200+  200+  200+     401    401   404     401
POST /api/command/deny                      401    404      403  200+    200+  200+  200+     401    401   404     401

POST /api/door/upload                       401    401      401  401     401   401   401      201+   201-  401     401
POST /api/door/upload #for-the-door         401    401      401  401     401   401   401      201+   403   401     401
POST /api/door/upload #proof-in-body        401    401      401  401     401   401   401      201+   401   401     401
GET /api/door/logs                          401    200-     200+ 200+    200+  200+  200+     200+   200-  200-    401
GET /api/door/logs #of-the-door             401    404      200+ 200+    200+  200+  200+     200+   404   404     401
GET /api/door/logs/pending                  401    200-     200+ 200+    200+  200+  200+     200+   200-  200-    401
GET /api/door/logs/{visitor_id}             401    404      200+ 200+    200+  200+  200+     200+   404   404     401
GET /api/door/stats                         401    200      200  200     200   200   200      200    200   200     401
GET /api/door/stats #of-the-door            401    404      200  200     200   200   200      200    404   404     401
GET /api/door/picture/{device_id}/{image}   401    404      200  200     200   200   200      200    404   404     401
GET /api/door/picture/{device_id}/{image} #link 401 404     200  200     200   200   200      200    404   404     401
GET /api/camera/list                        401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/camera/snapshot                    401    404      200+ 200+    200+  200+  200+     401    401   404     401
GET /api/camera/stream-url                  401    404      200+ 200+    200+  200+  200+     401    401   404     401
GET /api/camera/stream/{device_id}          401    404      200  200     200   200   200      200    404   404     401

GET /api/logs                               401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/logs #of-the-door                  401    404      200+ 200+    200+  200+  200+     401    401   404     401
GET /api/logs/activity                      401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/logs/visitors                      401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/logs/device/{ref}                  401    404      200+ 200+    200+  200+  200+     401    401   404     401
GET /api/logs/type/{kind}                   401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
DELETE /api/logs                            401    200-     200- 200-    200-  200-  200-     401    401   200-    401
GET /api/events/export                      401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/events/stream                      401    200      200  200     200   200   200      401    401   200     401
GET /api/events/stream #of-the-door         401    404      200  200     200   200   200      401    401   404     401
GET /api/events/verify                      401    403      403  403     403   403   200-     401    401   403     401
GET /api/dashboard/stats                    401    200-     200  200     200   200   200      401    401   200-    401
GET /api/dashboard/activity                 401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/dashboard/devices-summary          401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
GET /api/dashboard/alerts                   401    200-     200+ 200+    200+  200+  200+     401    401   200-    401
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Row:
    """`route` is the method and the path as the application has it."""

    route: str
    name: str
    cells: Mapping[str, str]

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.route.partition(" ")[2]


def _rows() -> list[Row]:
    head, *lines = [line for line in TABLE.splitlines() if line.strip()]
    assert tuple(head.split()) == WHO
    return [_row(line.split()) for line in lines]


def _row(words: list[str]) -> Row:
    named, cells = words[: -len(WHO)], words[-len(WHO) :]
    return Row(" ".join(named[:2]), " ".join(named), dict(zip(WHO, cells, strict=True)))


ROWS = _rows()


@dataclass(frozen=True, slots=True)
class Request:
    """One cell's, ready to be sent; `unproven` leaves out who asks."""

    method: str
    path: str
    body: Any
    unproven: bool

    async def send(self, app: FastAPI, headers: Mapping[str, str]) -> Answer:
        client = Client(app, None, **({} if self.unproven else headers))
        if "/stream" not in self.path or "stream-url" in self.path:
            return await client.ask(self.method, self.path, self.body)
        async with client.stream(self.path) as stream:
            return stream.answer


async def request_for(row: Row, cast: Cast, who: str) -> Request:
    ask = await ask_for(row.name, cast, who)
    names = {"ref": cast.door.id, "device_id": cast.door.id, **ask.names}
    path = f"{row.path.format_map(names)}?{ask.query}".rstrip("?")
    return Request(row.method, path, ask.body, ask.unproven)
