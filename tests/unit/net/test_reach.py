"""Which addresses may be reached, and how addresses are read: pure rules."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.net.errors import AddressRefusedError
from controlplane.net.reach import Reach
from controlplane.net.urls import check_host, is_address, parse_url
from worker_bootstrap.protocol.reach import NEVER, NOT_PUBLIC, inner, may_reach, parse_networks

EVERYTHING = parse_networks(["0.0.0.0/0", "::/0"])
V4 = st.ip_addresses(v=4)


@given(V4)
def test_an_allowed_ipv4_address_is_public_as_python_sees_it(address: ipaddress.IPv4Address) -> None:
    if may_reach(str(address)):
        assert address.is_global and not address.is_multicast and not address.is_link_local


@given(st.ip_addresses(v=6))
def test_an_allowed_ipv6_address_is_no_local_one(address: ipaddress.IPv6Address) -> None:
    if may_reach(str(address)):
        assert not (address.is_private and inner(str(address)) == address)
        assert not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


@pytest.mark.security("N30")
@given(V4)
def test_carriers_of_an_ipv4_address_are_judged_as_it_is(address: ipaddress.IPv4Address) -> None:
    carried = [f"::ffff:{address}", f"64:ff9b::{address}", f"::ffff:0:{address}"]
    carried.append(str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)))
    for allowed in ((), EVERYTHING):
        assert {may_reach(one, allowed) for one in carried} == {may_reach(str(address), allowed)}


@given(st.sampled_from(NEVER).flatmap(lambda network: st.ip_addresses(network=str(network))))
def test_some_addresses_are_opened_by_no_list(address: object) -> None:
    assert not may_reach(str(address), EVERYTHING)


@given(st.sampled_from(NOT_PUBLIC).flatmap(lambda network: st.ip_addresses(network=str(network))))
def test_what_is_not_public_needs_a_list(address: object) -> None:
    assert not may_reach(str(address))


def test_a_list_opens_what_it_names_and_nothing_else() -> None:
    allowed = parse_networks(["10.1.0.0/16", "fd12::/16", "127.0.0.1"])
    assert may_reach("10.1.2.3", allowed) and may_reach("fd12::1", allowed) and may_reach("127.0.0.1", allowed)
    assert not may_reach("10.2.0.1", allowed) and not may_reach("fd13::1", allowed)
    assert not may_reach("127.0.0.2", allowed)


@given(st.text(max_size=40))
def test_what_is_no_address_is_refused(text: str) -> None:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        assert not may_reach(text, EVERYTHING)


def test_a_list_that_is_none_says_which_word_is_wrong() -> None:
    with pytest.raises(ValueError, match="'10.0.0.0/33' is no network"):
        parse_networks(["10.0.0.0/8", "10.0.0.0/33"])


@given(st.text(max_size=60))
def test_a_host_that_is_taken_is_a_name_or_a_plain_address(text: str) -> None:
    try:
        host = check_host(text)
    except AddressRefusedError:
        return
    assert host.isascii() and not set(host) & set(" /\\@?#%\x00\r\n")
    assert is_address(host) or not host.rpartition(".")[2].isdigit()


@pytest.mark.security("N33")
@given(st.text(max_size=80))
def test_any_text_is_an_address_of_the_web_or_is_refused_in_one_sentence(text: str) -> None:
    try:
        target = parse_url(text)
    except AddressRefusedError as error:
        assert error.message and "\n" not in error.message
        return
    assert target.scheme in ("http", "https") and 0 < target.port < 65536


@pytest.mark.security("N30")
def test_one_bad_address_among_good_ones_spoils_them_all() -> None:
    reach = Reach(resolver=lambda host, port: ["1.1.1.1", "127.0.0.1"])
    with pytest.raises(AddressRefusedError):
        reach.addresses("mixed.example", 443)


@pytest.mark.security("N36")
def test_a_name_that_leads_nowhere_reads_like_one_that_leads_inside() -> None:
    words = set()
    for found in ([], ["10.0.0.5"]):
        with pytest.raises(AddressRefusedError) as refused:
            Reach(resolver=lambda host, port, found=found: found).addresses("db.example", 443)
        words.add(refused.value.message)
    assert len(words) == 1
