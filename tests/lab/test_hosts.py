"""What stands in the files of a lab's hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vipnet.app.config import load_config
from vipnet.lab.hosts import write_files
from vipnet.lab.layout import LabSpec, plan


@pytest.mark.parametrize(
    "spec", [LabSpec(), LabSpec(profile="paper"), LabSpec(hints=False), LabSpec(subnet="10.77.0.0/24")]
)
def test_a_hosts_configuration_is_what_the_lab_was_asked_for(tmp_path: Path, spec: LabSpec) -> None:
    layout = plan(spec, tmp_path)
    layout.directory.mkdir()
    write_files(layout)
    for host in layout.hosts:
        layout.tsig_file(host.label).write_text("c2VjcmV0\n")
        layout.tsig_file(host.label).chmod(0o600)
        config = load_config(layout.config_file(host.label))
        assert config.name == host.name
        assert (config.mobility.profile, config.mobility.hints) == (spec.profile, spec.hints)
        assert str(config.tun.subnet) == spec.subnet
        assert config.mobility.policy().stores == (spec.profile == "default")
