"""A server behind a key or a certificate: it works, and the secret is nowhere to be read."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.cli.conftest import CONFIG, FAILING, Project, Ran
from tests.fronts import front_of

pytestmark = pytest.mark.tools

TOKEN = "tok3n-of-the-b0x.AAAA~bbbb"
PASSWORD = "hunter2:and/more@once"
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
KEYRING = """
import pathlib
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        file = pathlib.Path(__file__).parent / "kept" / f"{service}-{username}"
        return file.read_text() if file.exists() else None
    def set_password(self, service, username, password):
        raise NotImplementedError
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded runtime that the tests of this file share."""
    other = Project(tmp_path_factory.mktemp("server"))
    other.write("deployq.toml", CONFIG)
    with other.serving() as url:
        yield url


def configured(project: Project, url: str, *lines: str, quants: str = '["Q8_0"]') -> None:
    settings = "\n".join((f'host = "{url}"', *lines))
    text = CONFIG.replace('["Q8_0", "Q4_K_M"]', quants)
    project.write("deployq.toml", text.replace("[targets.laptop]", f"[targets.laptop]\n{settings}"))


def nowhere(project: Project, ran: list[Ran], *secrets: str) -> None:
    """No secret is in what was shown, nor in any file; there is something to look at."""
    said = "\n".join(r.out + r.err for r in ran)
    files = [f for f in project.folder.rglob("*") if f.is_file() and f.name != "kept"]
    written = {str(f): f.read_bytes() for f in files if "kept" not in f.parts}
    assert any(name.endswith("report.json") for name in written)
    assert any(name.endswith("deployq.lock") for name in written)
    for secret in secrets:
        assert secret not in said
        assert [name for name, content in written.items() if secret.encode() in content] == []


@pytest.mark.parametrize(
    ("secret", "header", "parts"),
    [
        (TOKEN, f"Bearer {TOKEN}", (TOKEN,)),
        (f"me:{PASSWORD}", f"Basic {BASIC}", (PASSWORD, BASIC)),
    ],
    ids=["token", "password"],
)
def test_a_secret_of_the_environment(
    project: Project, server: str, tools_bin: Path, secret: str, header: str, parts: tuple[str, ...]
) -> None:
    assert tools_bin
    with front_of(server, key=header) as front:
        configured(project, front.url, 'auth = "env:BOX_SECRET"')
        env = {"BOX_SECRET": secret, "COLUMNS": "200"}
        host = ("--host", front.url)
        commands = [
            ("push", "tiny", "--targets", "laptop", "--json"),
            ("push", "tiny", "--targets", "laptop"),
            ("list", *host),
            ("show", "tiny:q8_0", *host, "--json"),
            ("verify", "tiny:q8_0", *host),
            ("status",),
            ("doctor", "--json"),
            ("config", "--all", "--json"),
            ("history", "tiny:q8_0", *host),
        ]
        ran = [project.run(*command, **env) for command in commands]
        for command, one in zip(commands, ran, strict=True):
            assert one.code == 0, (command, one.out, one.err)
        assert "env:BOX_SECRET" in ran[7].out, "where it is, is no secret"
        project.write("suite.toml", FAILING)
        ran.append(project.run("push", "tiny", "--targets", "laptop", **env))
        assert ran[-1].code == 4
        nowhere(project, ran, *parts)


def test_another_secret_is_refused_and_not_repeated(
    project: Project, server: str, tools_bin: Path
) -> None:
    assert tools_bin
    with front_of(server, key="Bearer another") as front:
        configured(project, front.url, 'auth = "env:BOX_SECRET"')
        ran = project.run("push", "tiny", "--targets", "laptop,box", BOX_SECRET=TOKEN)
        assert ran.code == 5
        assert "who are you, Bearer [secret]?" in ran.err, "it repeats what it got"
        assert "auth =" in ran.err
        assert "tiny:box" in ran.out, "the other server has its tags"
        without = project.run("list", "--host", front.url)
        assert (without.code, "has no BOX_SECRET" in without.err) == (2, True)
        assert "export BOX_SECRET" in without.err
        nowhere(project, [ran, without], TOKEN)


def test_a_secret_of_the_keyring(project: Project, server: str, tools_bin: Path) -> None:
    assert tools_bin
    project.write("our_keyring.py", KEYRING)
    kept = project.folder / "kept"
    kept.mkdir()
    env = {
        "PYTHON_KEYRING_BACKEND": "our_keyring.Keyring",
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(project.folder), os.environ.get("PYTHONPATH")])
        ),
    }
    with front_of(server, key=f"Bearer {TOKEN}") as front:
        configured(project, front.url, 'auth = "keyring:our-box"')
        missing = project.run("list", "--host", front.url, **env)
        assert missing.code == 2
        assert "keyring set our-box deployq" in missing.err
        (kept / "our-box-deployq").write_text(f"{TOKEN}\n")
        ran = project.run("push", "tiny", "--targets", "laptop", **env)
        assert ran.code == 0, ran.err
        none = project.run(
            "list", "--host", front.url, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring"
        )
        assert none.code == 2
        assert "the keyring can't be asked for our-box" in none.err
        nowhere(project, [missing, ran, none], TOKEN)


def test_the_default_server_wants_a_key(project: Project, server: str) -> None:
    with front_of(server, key=f"Bearer {TOKEN}") as front:
        env = {"OLLAMA_HOST": front.url, "DEPLOYQ_RUNTIME": "ollama"}
        refused = project.run("list", **env)
        assert refused.code == 5
        assert "[runtime]" in refused.err
        project.write("deployq.toml", f'{CONFIG}auth = "env:KEY"\n')
        assert project.run("list", **env, KEY=TOKEN).code == 0
        assert project.run("list", "--host", front.url, **env, KEY=TOKEN).code == 0
        doctor = project.run("doctor", "--json", **env, KEY=TOKEN)
        assert TOKEN not in doctor.out
        (found,) = [f for f in doctor.json["findings"] if "the configured one" in f["what"]]
        assert found["ok"], found


def test_a_secret_in_an_address(project: Project) -> None:
    secret = "https://me:hunter2@box:443"
    configured(project, secret)
    for ran in (
        project.run("plan", "tiny"),
        project.run("list", "--host", secret, "--config", "/dev/null"),
        project.run("-c", "/dev/null", "list", "--host", secret),
        project.run("-c", "/dev/null", "list", "--runtime", "ollama", OLLAMA_HOST=secret),
    ):
        assert ran.code == 2, ran.err
        assert "hunter2" not in ran.out + ran.err
    doctor = project.run("-c", "/dev/null", "doctor", OLLAMA_HOST=secret)
    assert "hunter2" not in doctor.out + doctor.err
    assert "OLLAMA_HOST has a user or a password" in doctor.out + doctor.err


def test_a_secret_where_its_source_should_be(project: Project) -> None:
    for wrong in (TOKEN, f"Bearer {TOKEN}", f"env:{TOKEN}", "keyring:"):
        configured(project, "https://box", f'auth = "{wrong}"')
        ran = project.run("plan", "tiny")
        assert ran.code == 2
        assert "targets.laptop.auth" in ran.err
        assert "env:NAME" in ran.err
        assert TOKEN not in ran.err


def test_no_secret_in_the_clear(project: Project) -> None:
    configured(project, "http://192.0.2.1:11434", 'auth = "env:BOX_SECRET"')
    ran = project.run("list", "--host", "192.0.2.1", BOX_SECRET=TOKEN)
    assert ran.code == 2
    assert "plain http on another machine" in ran.err
    assert "ssh tunnel" in ran.err


def test_two_targets_at_odds_over_one_server(project: Project) -> None:
    configured(project, "https://box", 'auth = "env:A"')
    text = (project.folder / "deployq.toml").read_text()
    project.write("deployq.toml", f'{text}\n[targets.other]\nhost = "https://box:443/"\n')
    ran = project.run("list", "--host", "box", A=TOKEN)
    assert "targets" not in ran.err, "plain http to box is another server"
    ran = project.run("list", "--host", "https://box", A=TOKEN)
    assert ran.code == 2
    assert "targets.laptop and targets.other are one server" in ran.err


# ---------------------------------------------------------------- certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_an_authority_of_ones_own(
    project: Project, server: str, tools_bin: Path, authority: trustme.CA
) -> None:
    assert tools_bin
    pem = project.folder / "our-ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    push = ("push", "tiny", "--targets", "laptop")
    with front_of(server, tls=tls_of(authority), key=f"Bearer {TOKEN}") as front:
        configured(project, front.url, 'auth = "env:KEY"', quants='["Q5_0"]')
        refused = project.run(*push, KEY=TOKEN)
        assert refused.code == 5
        assert f"{front.url} is not trusted" in refused.err
        assert "unable to get local issuer certificate" in refused.err
        assert 'ca = "FILE.pem"' in refused.err
        assert "SSL_CERT_FILE" in refused.err
        assert front.seen == [], "nothing was sent"
        by_variable = project.run(*push, KEY=TOKEN, SSL_CERT_FILE=str(pem))
        assert by_variable.code == 0, by_variable.err
        uploads = front.count("POST /api/blobs/")  # the weights, and what announces the push
        assert uploads > 1
        configured(project, front.url, 'auth = "env:KEY"', 'ca = "our-ca.pem"', quants='["Q4_0"]')
        by_setting = project.run(*push, KEY=TOKEN)
        assert by_setting.code == 0, by_setting.err
        assert front.count("POST /api/blobs/") > uploads, "the upload trusts it, too"


def test_a_certificate_of_its_own(project: Project, server: str) -> None:
    """Self-signed, as `openssl req -x509` makes one; naming it is to trust it."""
    made, other = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    pem, wrong = project.folder / "box.pem", project.folder / "wrong.pem"
    made.cert_pem.write_to_path(str(pem))
    other.cert_pem.write_to_path(str(wrong))
    with front_of(server, tls=context) as front:
        env = {"OLLAMA_HOST": front.url, "DEPLOYQ_RUNTIME": "ollama"}
        refused = project.run("list", **env)
        assert (refused.code, "is not trusted" in refused.err) == (5, True), refused.err
        project.write("deployq.toml", f'{CONFIG}ca = "wrong.pem"\n')
        assert project.run("list", **env).code == 5
        project.write("deployq.toml", f'{CONFIG}ca = "box.pem"\n')
        done = project.run("list", **env)
        assert done.code == 0, done.err


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_is_none(project: Project, content: str | None) -> None:
    if content is not None:
        project.write("our-ca.pem", content)
    configured(project, "https://127.0.0.1:9", 'ca = "our-ca.pem"')
    ran = project.run("list", "--host", "https://127.0.0.1:9")
    assert ran.code == 2
    assert "our-ca.pem can't be used as certificate authority" in ran.err


def test_a_certificate_for_another_name(
    project: Project, server: str, authority: trustme.CA
) -> None:
    pem = project.folder / "our-ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    with front_of(server, tls=tls_of(authority, "box.example")) as front:
        ran = project.run("list", "--host", front.url, SSL_CERT_FILE=str(pem))
    assert ran.code == 5
    assert "not valid for '127.0.0.1'" in ran.err
    assert "a name that stands in its certificate" in ran.err


def test_https_where_none_is_spoken(project: Project, server: str) -> None:
    ran = project.run("list", "--host", server.replace("http:", "https:"))
    assert ran.code == 5
    assert "no TLS can be spoken" in ran.err
    assert "http://" in ran.err


# ---------------------------------------------------------------- plain http


def test_plain_http_elsewhere_is_warned_about_once(project: Project, server: str) -> None:
    """A proxy of the environment stands in for the network, so that a far name answers here."""
    with front_of(server) as front:

        def far(method: str, path: str) -> None:
            """The request line of a proxy has the whole address; the server wants its path."""

        front.before = far
        proxied = {"HTTP_PROXY": front.url, "http_proxy": front.url}
        text = CONFIG.replace("[targets.laptop]", '[targets.laptop]\nhost = "http://box.test"')
        text = text.replace("[targets.box]", '[targets.box]\nhost = "http://box.test"')
        project.write("deployq.toml", text)
        ran = project.run("list", "--host", "http://box.test", **proxied)
        assert ran.err.count("warning: http://box.test") == 1, ran.err
        assert "ssh tunnel" in ran.err
    quiet = project.run("list", "--host", server)
    assert "warning" not in quiet.err
