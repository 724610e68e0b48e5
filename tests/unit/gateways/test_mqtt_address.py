from __future__ import annotations

from pathlib import Path

import pytest

from doorlock.daemon.config import MqttSection
from doorlock.daemon.gateways.mosquitto_conf import embedded_conf, mosquitto_conf
from doorlock.daemon.gateways.mqtt_address import own_broker, with_password
from doorlock.daemon.gateways.mqtt_link import LinkDown
from doorlock.errors import BadConfig


def test_the_url_says_where() -> None:
    address, file = own_broker(MqttSection(url="mqtt://broker"))
    assert (address.host, address.port, address.tls, file) == ("broker", 1883, None, None)
    secure, _ = own_broker(MqttSection(url="mqtts://broker"))
    assert (secure.port, str(secure)) == (8883, "mqtts://broker:8883")
    assert secure.tls is not None and secure.tls.check_hostname


def test_user_and_password_may_stand_in_the_url() -> None:
    address, _ = own_broker(MqttSection(url="mqtt://me:p%40ss@broker:2000"))
    assert (address.username, address.password, address.port) == ("me", "p@ss", 2000)
    assert "p@ss" not in repr(address) and "p@ss" not in str(address)
    named, _ = own_broker(MqttSection(url="mqtt://me@broker", username="other"))
    assert named.username == "other"


def test_two_daemons_do_not_share_a_client_id_by_accident() -> None:
    one, two = (own_broker(MqttSection(url="mqtt://broker"))[0] for _ in range(2))
    assert one.client_id != two.client_id
    assert own_broker(MqttSection(url="mqtt://b", client_id="mine"))[0].client_id == "mine"


@pytest.mark.parametrize("url", ["mqtt://", "mqtt://broker:99999", "mqtt://broker:x"])
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(BadConfig):
        own_broker(MqttSection(url=url))


def test_a_broker_of_ones_own_excludes_ours() -> None:
    with pytest.raises(BadConfig):
        own_broker(MqttSection(url="mqtt://broker", embedded="on"))


def test_a_password_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    address, _ = own_broker(MqttSection(url="mqtt://broker"))
    file = tmp_path / "password"
    with pytest.raises(LinkDown):
        with_password(address, file)
    file.write_text("pass word \n")
    assert with_password(address, file).password == "pass word "


def test_both_configurations_close_what_must_be_closed() -> None:
    embedded = embedded_conf("127.0.0.1", 1883, Path("/p.so"), Path("/u.json"), as_root=False)
    for text in (embedded, mosquitto_conf()):
        lines = text.splitlines()
        for needed in (
            "allow_anonymous false",
            "use_username_as_clientid true",
            "set_tcp_nodelay true",
            "persistence false",
        ):
            assert needed in lines
    assert "listener 1883 127.0.0.1" in embedded
    assert "user root" not in embedded
    as_root = embedded_conf("127.0.0.1", 1883, Path("/p.so"), Path("/u.json"), as_root=True)
    assert "user root" in as_root.splitlines()
