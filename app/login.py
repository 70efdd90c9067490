"""Who may use a server: a token, or people with passwords in a file."""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import re
import secrets
import stat
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser, SimpleUser
from starlette.requests import HTTPConnection

from app.connections import OPEN_TO_ALL
from app.wrong_logins import WrongLogins
from cmr.errors import DataError
from cmr.files import whole_file

TOKEN = "SYNCMRI_TOKEN"
TOKEN_USER = "token"

# What OWASP advises where memory counts: 19 MiB and some 20 ms a try. One password is checked at a time.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SHORTEST_PASSWORD, _LONGEST_PASSWORD = 8, 1024
_MOST_WAITING = 8  # for a password to be checked


class LoginError(AuthenticationError):
    """A request without a login that is known. ``status`` is 401 or 429; ``retry`` seconds after which to come again."""

    def __init__(self, status: int, message: str, retry: int | None = None):
        super().__init__(message)
        self.status, self.retry = status, retry


class Users:
    """People and hashes of their passwords: a file of lines NAME:HASH (argon2), read again when it changes.

    Raises:
        DataError: the file can't be read, or a line of it is something else, or no line names anybody.
    """

    def __init__(self, path: Path):
        self.path = path
        self._state, self._hashes = self._read()

    def hash_of(self, name: str) -> str | None:
        """The hash of a person's password as the file has it now; None where it names no such person."""
        with contextlib.suppress(OSError):
            if _state(self.path) == self._state:
                return self._hashes.get(name)
        try:
            self._state, self._hashes = self._read()
        except DataError:
            return None  # a file that was spoilt lets nobody in
        return self._hashes.get(name)

    def _read(self) -> tuple[tuple[int, ...], dict[str, str]]:
        try:
            state, hashes = _state(self.path), read_users(self.path)
        except OSError as error:
            raise DataError(
                f"{self.path}: can't be read ({error.strerror}); expected a file that `syncmri users add` made"
            ) from error
        if not hashes:
            raise DataError(f"{self.path}: names nobody. `syncmri users add NAME --file {self.path}` adds a person.")
        return state, hashes


def read_users(path: Path) -> dict[str, str]:
    """Name -> hash.

    Raises:
        DataError: a line is something else.
        OSError: the file can't be read.
    """
    hashes: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text; expected lines NAME:HASH") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.strip().partition(":")
        if not _NAME.fullmatch(name) or not hashed.startswith("$argon2id$"):
            raise DataError(
                f"{path}, line {number}: expected NAME:$argon2id$…; `syncmri users add NAME --file {path}` writes one"
            )
        if name in hashes:
            raise DataError(f"{path}, line {number}: names {name} a second time")
        hashes[name] = hashed
    return hashes


def add_user(path: Path, name: str, password: str) -> bool:
    """Write a person's line, in place of an earlier one of the same name; True where there was one.

    Raises:
        DataError: the name or the password can't be used, or the file is no file of users.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"'{name[:80]}' can't be a name; expected 1 to 64 letters, digits and . _ @ -, the first a letter or digit"
        )
    if name == TOKEN_USER:
        raise DataError(f"'{name}' stands for whoever states {TOKEN}; take another name")
    if not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise DataError(f"the password has {len(password)} characters; expected {_SHORTEST_PASSWORD} to {_LONGEST_PASSWORD}")
    hashes = read_users(path) if path.exists() else {}
    known = name in hashes
    _write(path, hashes | {name: _HASHER.hash(password)})
    return known


def remove_user(path: Path, name: str) -> None:
    """Take a person's line out; running servers refuse the person from then on.

    Raises:
        DataError: the file names no such person.
    """
    hashes = read_users(path) if path.exists() else {}
    if name not in hashes:
        raise DataError(f"{path}: names no '{name[:80]}'")
    _write(path, {other: hashed for other, hashed in hashes.items() if other != name})


class Login(AuthenticationBackend):
    """Tells who sends a request, from its headers alone.

    A token comes as ``Authorization: Bearer TOKEN`` or as the password of HTTP Basic; a person's name and password come as HTTP
    Basic. :class:`app.wrong_logins.WrongLogins` refuses an address that states too many wrong ones.

    Args:
        token: that a request may state.
        users: whose passwords a request may state.
        behind_proxy: the address of a client is the last one of ``X-Forwarded-For``, which the proxy wrote.
        open_to_all: path that asks for no login.
        browser: people come with a browser, which asks for name and password.
    """

    def __init__(
        self,
        token: str | None = None,
        users: Users | None = None,
        *,
        behind_proxy: bool = False,
        open_to_all: str | None = OPEN_TO_ALL,
        browser: bool = False,
    ):
        self._token, self._users = _digest(token) if token else None, users
        self._behind_proxy, self._open = behind_proxy, open_to_all
        self.challenge = 'Basic realm="SynCMRI", charset="UTF-8"' if users or browser else "Bearer"
        """What the answer 401 asks for."""
        self._one_at_a_time, self._waiting = asyncio.Lock(), 0
        self._secret = secrets.token_bytes(32)
        self._right: dict[str, tuple[str, bytes]] = {}
        self._wrong = WrongLogins()
        self._nobody = _HASHER.hash(secrets.token_hex(16))

    @property
    def needed(self) -> bool:
        return bool(self._token or self._users)

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        """The person, or the address where no login is asked for.

        Raises:
            LoginError: no login, a wrong one, or too many wrong ones before.
        """
        address = self._address(conn)
        if not self.needed or (self._open and conn.scope["path"] == self._open):
            return AuthCredentials(), SimpleUser(address)
        header = conn.headers.get("authorization")
        if header is None:
            raise LoginError(401, self._expected())
        name, password = _stated(header)
        if self._token and hmac.compare_digest(_digest(password), self._token):
            # Passes after any number of wrong ones: a token is too long to be guessed, and nobody can lock its owner out.
            return AuthCredentials(["draw"]), SimpleUser(TOKEN_USER)
        name = name if self._users else ""
        hashed = self._users.hash_of(name) if self._users and name else None
        if wait := self._wrong.wait_for_name(address, name):
            raise _too_many(wait)  # a password that is remembered waits too: else the throttle would tell the right guess
        if hashed and self._remembered(name, password, hashed):
            return AuthCredentials(["draw"]), SimpleUser(name)  # whatever others at this address try
        if wait := self._wrong.wait_for_address(address):
            raise _too_many(wait)
        if name and self._waiting >= _MOST_WAITING:
            raise LoginError(429, "many passwords are being checked; come again in some seconds", retry=2)
        tried = self._wrong.add(address, name)
        if name and await self._right_password(name, password, hashed):
            self._wrong.take_back(address, name, tried)
            return AuthCredentials(["draw"]), SimpleUser(name)
        raise LoginError(401, f"the login is wrong. {self._expected()}")

    def _remembered(self, name: str, password: str, hashed: str) -> bool:
        """Whether the password was right before, and is still the person's."""
        known, seen = self._right.get(name, ("", b""))
        return known == hashed and hmac.compare_digest(seen, self._seen(password))

    async def _right_password(self, name: str, password: str, hashed: str | None) -> bool:
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                # Somebody unknown costs as much time as somebody known.
                right = await asyncio.to_thread(_verified, hashed or self._nobody, password) and hashed is not None
        finally:
            self._waiting -= 1
        if right and hashed:
            self._right[name] = (hashed, self._seen(password))
        return right

    def _seen(self, password: str) -> bytes:
        return hmac.digest(self._secret, password.encode("utf-8", "surrogateescape"), "sha256")

    def _expected(self) -> str:
        ways = ["a token (Authorization: Bearer TOKEN)"] if self._token else []
        ways += ["a name and a password (HTTP Basic)"] if self._users else []
        return f"a login is needed: {' or '.join(ways)}"

    def _address(self, conn: HTTPConnection) -> str:
        address = conn.client.host if conn.client else "unknown"
        if self._behind_proxy:
            # The last one of all such lines is the proxy's own word; those before it are the client's.
            address = ",".join(conn.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()[:64] or address
        return address


def _too_many(wait: int) -> LoginError:
    return LoginError(429, f"too many wrong logins; come again in {wait} seconds", retry=wait)


def _stated(header: str) -> tuple[str, str]:
    """Name and password of an Authorization header; a Bearer's name is empty."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return "", value.strip().encode("latin-1").decode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError, ValueError):
            name, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
            return name[:64], password[:_LONGEST_PASSWORD]
    return "", ""


def _verified(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _write(path: Path, hashes: dict[str, str]) -> None:
    """In one step, readable by its owner alone; a file that exists keeps its permissions."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    try:
        with whole_file(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text("".join(f"{name}:{hashed}\n" for name, hashed in hashes.items()), encoding="utf-8")
            temporary.chmod(mode)
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror})") from error
