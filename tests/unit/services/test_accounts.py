"""Who is calling: Unix accounts, operators, tokens, and what a disabled user may not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import jwt
import pytest

from doorlock.daemon.domain.devices import Device
from doorlock.daemon.domain.events import EventType
from doorlock.daemon.domain.users import Caller, Role, User
from doorlock.daemon.services.sessions import ISSUER
from doorlock.errors import BadInput, Conflict, NotAllowed, NotAuthenticated, NotFound
from tests.support.house import OPERATOR_UID, House

KEY = b"k" * 64


async def by_jwt(it: House, token: str) -> User:
    return (await it.sessions.by_token(token)).user


async def operator(it: House) -> Caller:
    return Caller(await it.accounts.by_uid(OPERATOR_UID))


async def test_the_daemons_own_account_is_an_operator_made_at_its_first_use(it: House) -> None:
    made = await it.accounts.by_uid(OPERATOR_UID)
    assert made.is_operator and made.unix_uid == OPERATOR_UID
    assert await it.accounts.by_uid(OPERATOR_UID) == made
    assert len(await it.log(EventType.USER_CREATED)) == 1


async def test_two_first_uses_at_once_make_one_operator(it: House) -> None:
    made = await asyncio.gather(*(it.accounts.by_uid(OPERATOR_UID) for _ in range(5)))
    assert len({user.id for user in made}) == 1
    assert len(await it.store.list_users()) == 1


async def test_a_taken_name_does_not_keep_the_operator_out(it: House) -> None:
    await it.person(f"uid-{OPERATOR_UID}")
    assert (await it.accounts.by_uid(OPERATOR_UID)).is_operator


async def test_an_unknown_account_is_refused_with_the_mend(it: House) -> None:
    with pytest.raises(NotAllowed) as refused:
        await it.accounts.by_uid(1234)
    assert "doorlock user link USER 1234" in (refused.value.hint or "")


async def test_a_linked_account_is_its_user(it: House) -> None:
    root = await operator(it)
    anna = await it.person("anna")
    await it.accounts.link(root, "anna", 1234)
    found = await it.accounts.by_uid(1234)
    assert found.id == anna.user.id and not found.is_operator


async def test_what_cannot_be_linked(it: House) -> None:
    root = await operator(it)
    anna, _ = await it.person("anna"), await it.person("bert", uid=7)
    with pytest.raises(Conflict):
        await it.accounts.link(root, "anna", 7)
    with pytest.raises(BadInput):
        await it.accounts.link(root, "anna", OPERATOR_UID)
    with pytest.raises(NotFound):
        await it.accounts.link(root, "nobody", 8)
    with pytest.raises(NotAllowed):
        await it.accounts.link(anna, "anna", 8)


async def test_a_disabled_user_is_refused_everywhere(it: House) -> None:
    root = await operator(it)
    anna = await it.person("anna", uid=1234)
    token = it.sessions.token_for(anna.user)
    await it.accounts.set_active(root, "anna", False)
    with pytest.raises(NotAllowed):
        await it.accounts.by_uid(1234)
    with pytest.raises(NotAuthenticated):
        await by_jwt(it, token)
    with pytest.raises(NotAllowed):
        await it.accounts.acting_as(root, "anna")
    assert len(await it.log(EventType.USER_DISABLED)) == 1
    await it.accounts.set_active(root, "anna", True)
    assert (await it.accounts.by_uid(1234)).is_active


async def test_the_operator_of_the_machine_stays(it: House) -> None:
    root = await operator(it)
    with pytest.raises(BadInput):
        await it.accounts.set_active(root, root.user.username, False)
    assert (await it.accounts.by_uid(OPERATOR_UID)).is_operator


async def test_acting_for_another_gives_their_rights_and_names_both(it: House) -> None:
    root = await operator(it)
    anna = await it.person("anna")
    acting = await it.accounts.acting_as(root, "anna")
    assert (acting.user, acting.operator) == (anna.user, root.user)
    with pytest.raises(NotAllowed):
        await it.accounts.add(acting, "new", "", None, Role.SUPER_ADMIN)
    with pytest.raises(NotAllowed):
        await it.accounts.acting_as(anna, root.user.username)
    with pytest.raises(NotFound):
        await it.accounts.acting_as(root, "nobody")


async def test_users_are_added_by_operators_alone(it: House) -> None:
    root, anna = await operator(it), await it.person("anna")
    added = await it.accounts.add(root, "bert", "", "b@x.org", Role.ADMIN)
    assert (added.username, added.name, added.is_operator) == ("bert", "bert", False)
    with pytest.raises(NotAllowed):
        await it.accounts.add(anna, "carl", "", None, Role.USER)
    for name, email in (("BERT", None), ("carl", "B@X.org")):
        with pytest.raises(Conflict):
            await it.accounts.add(root, name, "", email, Role.ADMIN)


async def test_who_sees_which_users(it: House) -> None:
    root, anna = await operator(it), await it.person("anna")
    assert await it.accounts.users(anna) == [anna.user]
    assert len(await it.accounts.users(root)) == 2
    assert await it.accounts.users(await it.accounts.acting_as(root, "anna")) == [anna.user]


async def test_a_token_speaks_for_its_user_until_it_runs_out(it: House) -> None:
    anna = await it.person("anna")
    token = it.sessions.token_for(anna.user)
    assert (await by_jwt(it, token)).id == anna.user.id
    await it.clock.advance(timedelta(days=7) - timedelta(seconds=1))
    await by_jwt(it, token)
    await it.clock.advance(1)
    with pytest.raises(NotAuthenticated):
        await by_jwt(it, token)


async def forged(it: House, **changes: Any) -> str:
    anna = await it.store.find_user("anna") or (await it.person("anna")).user
    now = int(it.clock.now().timestamp())
    claims = {
        "userId": anna.id,
        "iss": ISSUER,
        "iat": now,
        "exp": now + 60,
        "jti": "j" * 24,
        **changes,
    }
    wanted = {key: value for key, value in claims.items() if value is not None}
    return jwt.encode(wanted, KEY, algorithm="HS256")


async def test_the_forger_of_these_tests_makes_good_ones_too(it: House) -> None:
    assert (await by_jwt(it, await forged(it))).username == "anna"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"iss": None},
        {"exp": None},
        {"iat": None},
        {"exp": 0},
        {"exp": "soon"},
        {"userId": None},
        {"userId": "f" * 24},
        {"userId": 5},
    ],
)
async def test_a_token_that_lacks_anything_is_refused(it: House, changes: dict[str, Any]) -> None:
    with pytest.raises(NotAuthenticated):
        await by_jwt(it, await forged(it, **changes))


async def test_a_token_of_another_key_or_method_is_refused(it: House) -> None:
    claims = jwt.decode(await forged(it), options={"verify_signature": False})
    for token in (
        jwt.encode(claims, b"x" * 64, algorithm="HS256"),
        jwt.encode(claims, KEY, algorithm="HS512"),
        jwt.encode(claims, None, algorithm="none"),
        "not.a.token",
        "",
    ):
        with pytest.raises(NotAuthenticated):
            await by_jwt(it, token)


async def test_a_devices_token_is_for_that_device_and_no_user(
    it: House, owner: Caller, door: Device
) -> None:
    token = it.sessions.token_for_device(door)
    assert (await it.sessions.device_by_jwt(token)).id == door.id
    with pytest.raises(NotAuthenticated):
        await by_jwt(it, token)
    with pytest.raises(NotAuthenticated):
        await it.sessions.device_by_jwt(it.sessions.token_for(owner.user))


@pytest.mark.parametrize("end", ["rotate", "revoke", "remove"])
async def test_a_devices_token_ends_with_what_it_was_given_for(
    it: House, owner: Caller, door: Device, end: str
) -> None:
    token = it.sessions.token_for_device(door)
    await getattr(it.registry, end)(owner, door.id)
    with pytest.raises(NotAuthenticated):
        await it.sessions.device_by_jwt(token)
