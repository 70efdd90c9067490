"""Asks for the known vulnerabilities of every locked version. Run it as ``make audit``.

Exit status: 0, there are none; 1, there are some, which are listed; 2, a version could not be asked about, so that nothing is
known of it. pip-audit alone ends with 0 and "No known vulnerabilities found" where it got no answer about any package.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements.cuda.lock", "deploy/requirements.txt", ".ci/pip.lock", ".ci/tools.lock")


def main() -> int:
    worst = 0
    for lock in LOCKS:
        command = [str(Path(sys.executable).parent / "pip-audit"), "--progress-spinner", "off", "--format", "json"]
        command += ["--require-hashes", "--disable-pip", "--requirement", lock]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        try:
            packages = json.loads(done.stdout)["dependencies"]
        except (json.JSONDecodeError, KeyError):
            packages = []
        known = [package for package in packages if "vulns" in package]
        faults = [(package, fault) for package in known for fault in package["vulns"]]
        for package, fault in faults:
            fixed = ", ".join(fault.get("fix_versions") or []) or "no version"
            print(f"{lock}: {package['name']} {package['version']}: {fault['id']}, mended in {fixed}")
        if len(known) < len(packages) or not packages:
            why = (
                (done.stderr.strip().splitlines() or ["no answer"])[-1] if not packages else packages[-1].get("skip_reason", "")
            )
            print(
                f"{lock}: no advisories could be had for {len(packages) - len(known) or 'all'} of its packages ({why[:200]}). "
                "This says nothing about them: run `make audit` where https://pypi.org/pypi can be reached.",
                file=sys.stderr,
            )
            worst = 2
        else:
            print(f"{lock}: {len(known)} packages, {len(faults)} known vulnerabilities")
        worst = max(worst, 1 if faults else 0)
    return worst


if __name__ == "__main__":
    sys.exit(main())
