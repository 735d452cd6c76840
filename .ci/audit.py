"""Report known vulnerabilities of what `async_kernel` needs, with its extras, as installed here (`make audit`).

The report is for people: it fails nothing. Where the service does not answer, one line says that nothing is known, and
pip-audit is not even installed; else that goes into an environment of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "async_kernel"
EXTRAS: Final = ("debugger", "trio", "uvloop")
ROOT: Final = Path(__file__).parents[1]
VENV: Final = ROOT / ".venv-audit"
SERVICE: Final = "https://pypi.org/pypi/{}/{}/json"
ASK_SECONDS: Final = 5
INSTALL_SECONDS: Final = 180
AUDIT_SECONDS: Final = 180
"How long each step may take; the last two only where the service has answered."
NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def needed() -> dict[str, str]:
    """Name and version of all that the package needs here, directly or not."""
    found: dict[str, str] = {}
    waiting = [PACKAGE]
    while waiting:
        name = waiting.pop()
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            continue  # for another system, or an extra that is not wanted
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        found[key] = dist.version
        for requirement in dist.requires or ():
            extra = re.search(r"extra == ['\"]([^'\"]+)", requirement)
            if (extra is None or (name == PACKAGE and extra[1] in EXTRAS)) and (match := NAME.match(requirement)):
                waiting.append(match[0])
    return {name: version for name, version in found.items() if name != PACKAGE.replace("_", "-")}


def ask(name: str, version: str) -> None:
    """Whether the service knows anything of vulnerabilities; a mirror of PyPI may not.

    Raises:
        RuntimeError: It does not answer, or with something else; what.
    """
    url = SERVICE.format(name, version)
    try:
        with urllib.request.urlopen(url, timeout=ASK_SECONDS) as answer:
            known = "vulnerabilities" in json.load(answer)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{url}: {error}") from error
    if not known:
        raise RuntimeError(f"{url} says nothing of vulnerabilities")


def run(command: list[str], seconds: float) -> str:
    """What a command says on stderr, whatever its exit code is.

    Raises:
        RuntimeError: It takes longer than `seconds`.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no end of {Path(command[0]).name} {' '.join(command[1:3])} within {seconds} s") from None
    return done.stderr


def audit(pins: dict[str, str]) -> list[dict[str, Any]]:
    """What the service says of each of `pins`.

    Raises:
        RuntimeError: It says nothing; why.
    """
    ask(*next(iter(pins.items())))
    python = VENV / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        venv.create(VENV, with_pip=True)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["audit"]
    run([str(python), "-m", "pip", "install", "-q", *wanted], INSTALL_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        requirements, result = Path(folder, "pins.txt"), Path(folder, "audit.json")
        requirements.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), "utf-8")
        command = [str(python), "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
        command += ["--timeout", str(ASK_SECONDS), "--format", "json", "--output", str(result)]
        said = run([*command, "--progress-spinner", "off"], AUDIT_SECONDS)
        if not result.exists() or not (text := result.read_text("utf-8")):
            raise RuntimeError(f"pip-audit says: {(said.strip().splitlines() or ['nothing'])[-1]:.300}")
        return json.loads(text)["dependencies"]


def main() -> None:
    pins = needed()
    try:
        answers = audit(pins)
    except (RuntimeError, OSError) as error:
        print(f"audit: not done, nothing is known of {len(pins)} packages: {error}")
        return
    skipped = [each["name"] for each in answers if "skip_reason" in each]
    for each in answers:
        for fault in each.get("vulns", ()):
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"audit: {each['name']} {each['version']}: {fault['id']}, fixed in {fixed}")
    faults = sum(len(each.get("vulns", ())) for each in answers)
    print(f"audit: {faults} known vulnerabilities in {len(answers) - len(skipped)} of {len(pins)} packages")
    if skipped:
        print(f"audit: the service does not know {', '.join(skipped)}")


if __name__ == "__main__":
    main()
