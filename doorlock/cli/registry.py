"""Every verb: its name, where it is, and its line of help. Data alone, so that `--help` lists all
of them and a verb's module is imported only when that verb is run."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A verb at `target` ("module:function"), or a noun with verbs below it, or both.

    `raw` hands everything after the verb to its function as `arguments`, unparsed.
    """

    name: str
    target: str
    help: str
    below: tuple[Entry, ...] = ()
    raw: bool = False


class Section(NamedTuple):
    """Verbs under one heading of `--help`."""

    title: str
    entries: tuple[Entry, ...]


SECTIONS = (
    Section(
        "Doors",
        (
            Entry("unlock", "doors:unlock", "Unlock doors, each for a moment."),
            Entry("lock", "doors:lock", "Lock doors."),
            Entry("snapshot", "doors:snapshot", "Have cameras take a picture."),
            Entry("restart", "doors:restart", "Restart devices."),
            Entry(
                "visitors",
                "",
                "Who is at the door, and whether they come in.",
                (
                    Entry("ls", "visitors:ls", "List who came."),
                    Entry("show", "visitors:show", "Show a visitor, with the picture."),
                    Entry("approve", "visitors:approve", "Let a visitor in."),
                    Entry("deny", "visitors:deny", "Turn a visitor away."),
                    Entry("watch", "visitors:watch", "Who waits, then everybody who comes."),
                ),
            ),
            Entry("wait", "waiting:wait", "Wait until a device is online, locked, …"),
            Entry("watch", "waiting:watch", "The state of the doors, then every change to it."),
        ),
    ),
    Section(
        "Devices",
        (
            Entry("ls", "listing:ls", "List the devices."),
            Entry("show", "listing:show", "Show a device, its state and its last commands."),
            Entry("register", "devices:register", "Register a device and get its token."),
            Entry("rename", "devices:rename", "Give a device another name."),
            Entry("set", "devices:set_fields", "Change the room, the settings, … of a device."),
            Entry("rm", "devices:rm", "Remove a device."),
            Entry("qr", "devices:qr", "Show the code that pairs a device."),
            Entry(
                "token",
                "",
                "The tokens that devices and scripts prove themselves by.",
                (
                    Entry("create", "tokens:create", "Make a token of your own for a script."),
                    Entry("ls", "tokens:ls", "List the tokens of your own."),
                    Entry("rotate", "devices:rotate", "Give a device a new token."),
                    Entry("revoke", "tokens:revoke", "Make the token of a device useless."),
                ),
            ),
        ),
    ),
    Section(
        "People",
        (
            Entry("share", "sharing:share", "Let a user see or use a device."),
            Entry("unshare", "sharing:unshare", "Take a share back."),
            Entry("shares", "sharing:shares", "List the shares of a device, or all."),
            Entry(
                "invitations",
                "",
                "Shares for people who have no account yet.",
                (
                    Entry("ls", "invitations:ls", "List the invitations to your devices."),
                    Entry("accept", "invitations:accept", "Get the share that a code is for."),
                    Entry("revoke", "invitations:revoke", "Take an invitation back."),
                ),
            ),
            Entry(
                "transfer",
                "",
                "Give a device to somebody else for good.",
                (
                    Entry("offer", "transfers:offer", "Offer a device to a user."),
                    Entry("ls", "transfers:ls", "List what you offered or were offered."),
                    Entry("accept", "transfers:accept", "Make an offered device yours."),
                    Entry("cancel", "transfers:cancel", "Take an offer back, or decline it."),
                ),
            ),
            Entry(
                "access",
                "",
                "Who may open a door.",
                (Entry("explain", "access:explain", "Who could open it when, and why."),),
            ),
            Entry(
                "user",
                "",
                "The users of the daemon.",
                (
                    Entry("add", "users:add", "Add a user."),
                    Entry("ls", "users:ls", "List the users."),
                    Entry("show", "users:show", "Show a user."),
                    Entry("disable", "users:disable", "Shut a user out."),
                    Entry("enable", "users:enable", "Let a user in again."),
                    Entry("link", "users:link", "Tie a Unix account to a user."),
                    Entry("passwd", "signin:passwd", "Change a password."),
                ),
            ),
            Entry("login", "signin:login", "Sign in with a password."),
            Entry("logout", "signin:logout", "Sign out."),
            Entry("whoami", "users:whoami", "Show who the daemon takes you for."),
        ),
    ),
    Section(
        "What happened",
        (
            Entry(
                "events",
                "events:events",
                "Show the event log, or follow it.",
                (
                    Entry("verify", "events:verify", "Check that nobody has altered the log."),
                    Entry("export", "events:export", "Write the log out, one event a line."),
                ),
            ),
            Entry(
                "command",
                "",
                "The commands that devices were given.",
                (
                    Entry("ls", "command:ls", "List the last commands."),
                    Entry("show", "command:show", "Show a command and what became of it."),
                    Entry("cancel", "command:cancel", "Cancel a command that still waits."),
                ),
            ),
        ),
    ),
    Section(
        "The daemon",
        (
            Entry("status", "health:status", "Show how the daemon is doing."),
            Entry("doctor", "health:doctor", "Check everything; say how to mend what is broken."),
            Entry(
                "daemon",
                "",
                "Run the daemon, or ask for it.",
                (
                    Entry("run", "daemon:run", "Run the daemon in the foreground.", raw=True),
                    Entry("status", "health:status", "Show how the daemon is doing."),
                ),
            ),
            Entry(
                "config",
                "",
                "The daemon's configuration.",
                (
                    Entry("show", "daemon:show_config", "Show the settings in force."),
                    Entry("validate", "daemon:validate_config", "Check a configuration file."),
                    Entry("path", "daemon:config_path", "Print where the file is looked for."),
                ),
            ),
            Entry(
                "auth",
                "",
                "How the daemon knows who is who.",
                (Entry("rotate-key", "signin:rotate_key", "Sign tokens with a new key."),),
            ),
            Entry(
                "broker",
                "",
                "The MQTT broker.",
                (
                    Entry(
                        "mosquitto-conf",
                        "daemon:mosquitto_conf",
                        "Print what a Mosquitto of your own needs.",
                        raw=True,
                    ),
                ),
            ),
        ),
    ),
    Section(
        "To try it out",
        (
            Entry("demo", "demo:demo", "A daemon, four simulated locks, and an unlocked door."),
            Entry("simulate", "simulate:simulate", "Simulate devices."),
            Entry(
                "device",
                "",
                "The reference device.",
                (Entry("run", "device:run", "Be a lock, on a Raspberry Pi for one."),),
            ),
        ),
    ),
    Section(
        "The command line",
        (
            Entry("completion", "shell:completion", "Print a shell's completion script."),
            Entry("man", "shell:man", "Show a manual page."),
            Entry("version", "health:version", "Print the versions."),
        ),
    ),
)

ENTRIES = tuple(entry for section in SECTIONS for entry in section.entries)
