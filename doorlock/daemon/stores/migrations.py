"""The schema, as the numbered steps that lead to it. A step that was released never changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from doorlock.daemon.domain.events import GENESIS
from doorlock.daemon.ports import SchemaTooNew
from doorlock.daemon.stores.faults import unavailable
from doorlock.errors import Unavailable

APPLICATION_ID = 0x646C_6F6B
"""`dlok`: tells our files from other programs' databases."""

Migration = Sequence[str]
"""Statements, all of which are done or none."""

# Times are milliseconds since 1970. A `*_key` is case-folded; `slot` and `unfinished` are what the
# domain says of the command. An index on an event's field serves ordering by seq: it is the rowid.
_FIRST: Migration = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    """CREATE TABLE users (
        id TEXT PRIMARY KEY, username TEXT NOT NULL, created_at INTEGER NOT NULL,
        name TEXT NOT NULL, email TEXT, role TEXT NOT NULL, unix_uid INTEGER UNIQUE,
        is_active INTEGER NOT NULL, username_key TEXT NOT NULL UNIQUE, email_key TEXT UNIQUE)""",
    """CREATE TABLE devices (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, esp_id TEXT NOT NULL UNIQUE,
        owner_id TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        device_type TEXT NOT NULL, room TEXT NOT NULL, location TEXT NOT NULL,
        firmware_version TEXT, metadata TEXT NOT NULL, settings TEXT NOT NULL, token_hash TEXT,
        is_active INTEGER NOT NULL, activated_at INTEGER, maintenance INTEGER NOT NULL,
        lock_value TEXT NOT NULL, lock_origin TEXT NOT NULL, lock_at INTEGER,
        relocks_at INTEGER, battery_level INTEGER, last_seen INTEGER,
        mqtt_provisioned INTEGER NOT NULL, pending_token_hash TEXT,
        pending_expires_at INTEGER, name_key TEXT NOT NULL)""",
    "CREATE INDEX devices_by_name ON devices (name_key)",
    "CREATE INDEX devices_by_owner ON devices (owner_id)",
    """CREATE TABLE shares (
        device_id TEXT NOT NULL, user_id TEXT NOT NULL, permission TEXT NOT NULL,
        granted_by TEXT NOT NULL, created_at INTEGER NOT NULL, starts_at INTEGER,
        expires_at INTEGER, PRIMARY KEY (device_id, user_id))""",
    "CREATE INDEX shares_by_user ON shares (user_id)",
    """CREATE TABLE commands (
        n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, device_id TEXT NOT NULL,
        name TEXT NOT NULL, issued_by TEXT NOT NULL, issued_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, wait INTEGER NOT NULL, payload TEXT NOT NULL,
        status TEXT NOT NULL, via TEXT, tried TEXT NOT NULL, sent_at INTEGER,
        acknowledged_at INTEGER, finished_at INTEGER, error_message TEXT, operator_id TEXT,
        correlation_id TEXT, idempotency_key TEXT, version INTEGER NOT NULL, slot TEXT,
        unfinished INTEGER NOT NULL)""",
    "CREATE INDEX commands_by_device ON commands (device_id, issued_at)",
    "CREATE INDEX commands_by_time ON commands (issued_at)",
    "CREATE INDEX commands_unfinished ON commands (device_id) WHERE unfinished = 1",
    "CREATE UNIQUE INDEX commands_by_slot ON commands (slot) WHERE slot IS NOT NULL",
    """CREATE UNIQUE INDEX commands_by_key ON commands (issued_by, idempotency_key)
        WHERE idempotency_key IS NOT NULL""",
    """CREATE TABLE joined (
        user_id TEXT NOT NULL, key TEXT NOT NULL, command_id TEXT NOT NULL,
        PRIMARY KEY (user_id, key)) WITHOUT ROWID""",
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
        at INTEGER NOT NULL, device_id TEXT, user_id TEXT, command_id TEXT, correlation_id TEXT,
        payload TEXT NOT NULL, metadata TEXT NOT NULL)""",
    "CREATE INDEX events_by_device ON events (device_id) WHERE device_id IS NOT NULL",
    "CREATE INDEX events_by_user ON events (user_id) WHERE user_id IS NOT NULL",
    "CREATE INDEX events_by_command ON events (command_id) WHERE command_id IS NOT NULL",
    "CREATE INDEX events_by_type ON events (type)",
    "CREATE INDEX events_by_time ON events (at)",
    "CREATE TABLE pruned (seq INTEGER NOT NULL, hash TEXT NOT NULL)",
    f"INSERT INTO pruned VALUES (0, '{GENESIS}')",
)

_ACCOUNTS: Migration = (
    "ALTER TABLE users ADD COLUMN password_hash TEXT",
    "ALTER TABLE users ADD COLUMN tokens_valid_from INTEGER",
    "CREATE TABLE revoked_tokens (jti TEXT PRIMARY KEY, expires_at INTEGER NOT NULL)",
    """CREATE TABLE access_tokens (
        id TEXT PRIMARY KEY, user_id TEXT NOT NULL, name TEXT NOT NULL,
        token_hash TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, created_at INTEGER NOT NULL,
        expires_at INTEGER, UNIQUE (name, user_id))""",
    "CREATE INDEX access_tokens_by_user ON access_tokens (user_id)",
)

_VISITORS: Migration = (
    """CREATE TABLE visitors (
        id TEXT PRIMARY KEY, device_id TEXT NOT NULL, opened_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, status TEXT NOT NULL, image TEXT,
        bell_pressed INTEGER NOT NULL, message TEXT NOT NULL, decided_by TEXT, operator_id TEXT,
        decided_at INTEGER, note TEXT NOT NULL, command_id TEXT, version INTEGER NOT NULL)""",
    "CREATE INDEX visitors_by_device ON visitors (device_id, opened_at)",
    "CREATE INDEX visitors_by_time ON visitors (opened_at)",
    "CREATE INDEX visitors_pending ON visitors (device_id) WHERE status = 'pending'",
    "CREATE INDEX visitors_by_image ON visitors (image, device_id) WHERE image IS NOT NULL",
    """CREATE TABLE pictures (
        device_id TEXT NOT NULL, image TEXT NOT NULL, taken_at INTEGER NOT NULL,
        PRIMARY KEY (device_id, image))""",
    "CREATE INDEX pictures_by_time ON pictures (device_id, taken_at)",
    "CREATE INDEX pictures_by_image ON pictures (image)",
)

_SHARING: Migration = (
    "ALTER TABLE shares ADD COLUMN schedule TEXT",
    "ALTER TABLE devices ADD COLUMN timezone TEXT NOT NULL DEFAULT 'UTC'",
    "ALTER TABLE devices ADD COLUMN transfer_to TEXT",
    "ALTER TABLE devices ADD COLUMN transfer_expires_at INTEGER",
    "CREATE INDEX devices_offered ON devices (transfer_to) WHERE transfer_to IS NOT NULL",
    """CREATE TABLE invitations (
        id TEXT PRIMARY KEY, device_id TEXT NOT NULL, email TEXT NOT NULL,
        permission TEXT NOT NULL, granted_by TEXT NOT NULL, created_at INTEGER NOT NULL,
        code_hash TEXT NOT NULL UNIQUE, code_expires_at INTEGER NOT NULL, starts_at INTEGER,
        expires_at INTEGER, schedule TEXT, email_key TEXT NOT NULL,
        UNIQUE (device_id, email_key))""",
)

_DASHBOARDS: Migration = ("ALTER TABLE users ADD COLUMN log_cleared_to INTEGER NOT NULL DEFAULT 0",)

MIGRATIONS: Sequence[Migration] = (_FIRST, _ACCOUNTS, _VISITORS, _SHARING, _DASHBOARDS)


def check_version(db: sqlite3.Connection, newest: int) -> None:
    """Raises SchemaTooNew for a file beyond `newest`, Unavailable for one that is not ours."""
    version = _pragma(db, "user_version")
    if _pragma(db, "application_id") != APPLICATION_ID:
        if version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise Unavailable(
                "the file belongs to another program", hint="Name another in store.url."
            )
    elif version > newest:
        raise SchemaTooNew(
            f"a newer doorlock wrote the store (version {version}, and this one knows {newest})",
            hint="Upgrade doorlock, or restore a backup from before.",
        )


def migrate(db: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Bring an older file to the newest version, each step whole or not at all."""
    for number in range(_pragma(db, "user_version") + 1, len(migrations) + 1):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in migrations[number - 1]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            message = f"the store could not be brought to version {number}"
            raise unavailable(message, error) from error


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
