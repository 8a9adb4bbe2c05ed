import os
import subprocess
from pathlib import Path

import pytest

from matinee.stack.service import Service


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives up being root")
def test_a_child_that_gave_up_root_still_passes_closed_folders_and_writes_nothing_in_them(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\nid -u\n")
    program.chmod(0o755)
    # `[ -x ]` asks access(2), as initdb does when it looks for postgres beside itself.
    argv = ("/bin/sh", "-c", f"[ -x {program} ] && {program} && ! touch {closed}/mine 2>/dev/null")
    service = Service("probe", argv, ready=lambda: True, user="nobody")
    done = subprocess.run(argv, preexec_fn=service.in_child(), capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != "0"
    assert not (closed / "mine").exists()
