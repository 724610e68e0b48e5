"""What each row of the table of routes sends; a row without one here sends nothing, and the ids of
the door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.integration.access.cast import DEVICES, PASSWORD, Cast
from tests.support.pictures import data_url, jpeg


@dataclass(frozen=True, slots=True)
class Ask:
    """The body, the query, and the names in the path; `unproven` leaves out who asks."""

    body: Any = None
    query: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    unproven: bool = False


async def _register(cast: Cast, who: str) -> Ask:
    return Ask({"username": f"new-{cast.number}", "password": PASSWORD, "role": "super_admin"})


async def _register_invited(cast: Cast, who: str) -> Ask:
    body = (await _register(cast, who)).body
    return Ask({**body, "inviteCode": (await cast.invitation())[1]})


async def _login(cast: Cast, who: str) -> Ask:
    if who in DEVICES:
        return Ask({"username": cast.machine(who).id, "password": cast.device_token(who)})
    name = cast.users[who].username if who in cast.users else f"nobody-{cast.number}"
    return Ask({"username": name, "password": PASSWORD})


async def _own_password(cast: Cast, who: str) -> Ask:
    return Ask({"currentPassword": PASSWORD, "newPassword": "another, please"})


async def _new_token(cast: Cast, who: str) -> Ask:
    return Ask({"name": "backup", "scope": "admin"})


async def _own_token(cast: Cast, who: str) -> Ask:
    return Ask(names={"ref": await cast.access_token(who) if who in cast.users else "0" * 24})


async def _guests_token(cast: Cast, who: str) -> Ask:
    return Ask(names={"ref": await cast.access_token("guest")})


async def _add_user(cast: Cast, who: str) -> Ask:
    return Ask({"username": f"added-{cast.number}", "role": "super_admin"})


async def _own_user(cast: Cast, who: str) -> Ask:
    return Ask(names={"ref": cast.users[who].id if who in cast.users else "0" * 24})


async def _guest(cast: Cast, who: str) -> Ask:
    body = {"uid": 500_000 + cast.number, "newPassword": "another, please"}
    return Ask(body, names={"ref": cast.users["guest"].id})


async def _new_device(cast: Cast, who: str) -> Ask:
    return Ask({"name": "shed", "espId": f"NEW-{cast.number}"})


async def _settings(cast: Cast, who: str) -> Ask:
    return Ask({"settings": {"autoLockTimeout": 5000}})


async def _room(cast: Cast, who: str) -> Ask:
    return Ask({"room": "hall", "settings": {"autoLockTimeout": 5000}})


async def _proof(cast: Cast, who: str) -> Ask:
    token = cast.device_token(who) if who in DEVICES else cast.token(who)
    return Ask({"deviceId": cast.door.id, "token": token})


async def _beat(cast: Cast, who: str) -> Ask:
    return Ask({"batteryLevel": 80})


async def _share(cast: Cast, who: str) -> Ask:
    return Ask({"user": cast.users["neighbour"].username, "permission": "admin"})


async def _share_himself(cast: Cast, who: str) -> Ask:
    user = cast.users.get(who) or cast.users["neighbour"]
    return Ask({"user": user.id, "permission": "admin"})


async def _invite(cast: Cast, who: str) -> Ask:
    return Ask({"user": cast.invited, "permission": "view"})


async def _share_dry(cast: Cast, who: str) -> Ask:
    return Ask({**(await _share(cast, who)).body, "dryRun": True})


async def _unshare_guest(cast: Cast, who: str) -> Ask:
    return Ask(names={"user": cast.users["guest"].username})


async def _unshare_own(cast: Cast, who: str) -> Ask:
    return Ask(names={"user": cast.users[who].id if who in cast.users else "0" * 24})


async def _explain_own(cast: Cast, who: str) -> Ask:
    return Ask(query=f"user={cast.users[who].username if who in cast.users else 'x'}")


async def _invited(cast: Cast, who: str) -> Ask:
    await cast.invitation()
    return Ask()


async def _accept(cast: Cast, who: str) -> Ask:
    return Ask({"code": (await cast.invitation())[1]})


async def _an_invitation(cast: Cast, who: str) -> Ask:
    return Ask(names={"ref": (await cast.invitation())[0]})


async def _offered(cast: Cast, who: str) -> Ask:
    await cast.offer("guest")
    return Ask()


async def _offered_to_them(cast: Cast, who: str) -> Ask:
    if who in set(cast.users) - {"owner", "disabled"}:
        await cast.offer(who)
    return Ask()


async def _offer(cast: Cast, who: str) -> Ask:
    return Ask({"user": cast.users["guest"].id})


async def _unlock(cast: Cast, who: str) -> Ask:
    await cast.house.connect(cast.door)
    return Ask({"command": "unlock_door", "payload": {"duration": 5000}})


async def _unlock_dry(cast: Cast, who: str) -> Ask:
    return Ask({**(await _unlock(cast, who)).body, "dryRun": True})


async def _firmware(cast: Cast, who: str) -> Ask:
    where = "https://firmware.test/2"
    proof = {"checksum": "a" * 64, "signature": "b" * 64}
    payload = {"version": "2.0.0", "url": where, **proof}
    return Ask({"command": "firmware_update", "payload": payload})


async def _commanded(cast: Cast, who: str) -> Ask:
    return Ask(names={"command_id": await cast.queued_command()})


async def _decide(cast: Cast, who: str) -> Ask:
    await cast.house.connect(cast.door)
    return Ask({"visitorLogId": (await cast.visit()).visitor.id, "notes": "come in"})


async def _upload(cast: Cast, who: str) -> Ask:
    return Ask({"image": data_url(jpeg(mark=b"new"))})


async def _upload_for_the_door(cast: Cast, who: str) -> Ask:
    return Ask({**(await _upload(cast, who)).body, "deviceId": cast.door.id})


async def _upload_with_proof(cast: Cast, who: str) -> Ask:
    proof = (await _proof(cast, who)).body
    body = {"deviceId": proof["deviceId"], "deviceToken": proof["token"]}
    return Ask({**(await _upload(cast, who)).body, **body}, unproven=True)


async def _visited(cast: Cast, who: str) -> Ask:
    visit = await cast.visit()
    return Ask(names={"visitor_id": visit.visitor.id, "image": visit.image})


async def _linked_picture(cast: Cast, who: str) -> Ask:
    image = (await cast.visit()).image
    return Ask(query=f"link={cast.link(who, image)}", names={"image": image})


async def _of_the_door(cast: Cast, who: str) -> Ask:
    await cast.visit()
    return Ask(query=f"device={cast.door.id}")


async def _camera(cast: Cast, who: str) -> Ask:
    await cast.visit()
    return Ask(query=f"cameraId={cast.door.id}")


async def _stream(cast: Cast, who: str) -> Ask:
    return Ask(query=f"link={cast.link(who, 'stream')}")


async def _of_type(cast: Cast, who: str) -> Ask:
    await cast.visit()
    return Ask(names={"kind": "visitor_arrived"})


async def _alerted(cast: Cast, who: str) -> Ask:
    await cast.low_battery()
    return Ask()


ASKS: Mapping[str, Callable[[Cast, str], Awaitable[Ask]]] = {
    "POST /api/auth/register": _register,
    "POST /api/auth/register #invited": _register_invited,
    "POST /api/auth/login": _login,
    "PUT /api/auth/password": _own_password,
    "POST /api/auth/tokens": _new_token,
    "DELETE /api/auth/tokens/{ref} #own": _own_token,
    "DELETE /api/auth/tokens/{ref} #guest": _guests_token,
    "POST /api/users": _add_user,
    "GET /api/users/{ref} #own": _own_user,
    "GET /api/users/{ref} #guest": _guest,
    "POST /api/users/{ref}/link": _guest,
    "POST /api/users/{ref}/password": _guest,
    "POST /api/users/{ref}/disable": _guest,
    "POST /api/users/{ref}/enable": _guest,
    "POST /api/device/register": _new_device,
    "PUT /api/device/{ref} #settings": _settings,
    "PUT /api/device/{ref} #room": _room,
    "POST /api/device/activate": _proof,
    "POST /api/device/validate": _proof,
    "POST /api/device/{device_id}/heartbeat": _beat,
    "POST /api/device/{ref}/share": _share,
    "POST /api/device/{ref}/share #himself": _share_himself,
    "POST /api/device/{ref}/share #invite": _invite,
    "POST /api/device/{ref}/share #dry": _share_dry,
    "DELETE /api/device/{ref}/share/{user} #guest": _unshare_guest,
    "DELETE /api/device/{ref}/share/{user} #own": _unshare_own,
    "GET /api/device/{ref}/access #own": _explain_own,
    "GET /api/invitations": _invited,
    "POST /api/invitations/accept": _accept,
    "DELETE /api/invitations/{ref}": _an_invitation,
    "GET /api/transfers": _offered,
    "POST /api/device/{ref}/transfer": _offer,
    "POST /api/device/{ref}/transfer/accept": _offered,
    "POST /api/device/{ref}/transfer/accept #own": _offered_to_them,
    "DELETE /api/device/{ref}/transfer": _offered,
    "DELETE /api/device/{ref}/transfer #own": _offered_to_them,
    "POST /api/device/{ref}/command": _unlock,
    "POST /api/device/{ref}/command #dry": _unlock_dry,
    "POST /api/device/{ref}/command #firmware": _firmware,
    "GET /api/command/history": _commanded,
    "GET /api/command/{command_id}": _commanded,
    "POST /api/command/{command_id}/cancel": _commanded,
    "POST /api/command/open": _decide,
    "POST /api/command/deny": _decide,
    "POST /api/door/upload": _upload,
    "POST /api/door/upload #for-the-door": _upload_for_the_door,
    "POST /api/door/upload #proof-in-body": _upload_with_proof,
    "GET /api/door/logs/{visitor_id}": _visited,
    "GET /api/door/picture/{device_id}/{image}": _visited,
    "GET /api/door/picture/{device_id}/{image} #link": _linked_picture,
    "GET /api/camera/snapshot": _camera,
    "GET /api/camera/stream-url": _camera,
    "GET /api/camera/stream/{device_id}": _stream,
    "GET /api/logs/type/{kind}": _of_type,
    "GET /api/dashboard/alerts": _alerted,
}


async def ask_for(row: str, cast: Cast, who: str) -> Ask:
    """What `who` sends for that row, everything that it takes being there."""
    if row in ASKS:
        return await ASKS[row](cast, who)
    if row.endswith("#of-the-door"):
        return await _of_the_door(cast, who)
    await cast.visit()
    return Ask()
