"""The codes of the negative tests: what each says that must hold, and which do not apply yet, and why.

A test names what it covers: `@pytest.mark.security("N01")`. Codes with I are known defects of other installers.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "N01": "Each route and method without a login is refused, but for a short list of public ones.",
    "N02": "So are the live log, the document of the API, metrics and debugging addresses, and users' files.",
    "N03": "No odd way to write a path, host or method opens what the plain one does not.",
    "N04": "Each role may call what the table of permissions says, uploads among it, and nothing else.",
    "N05": "A worker listens on no address that others reach; the master opens to others with TLS only.",
    "N05b": "Another tenant's id, in path, query or body, answers as one that is nowhere.",
    "N06": "No secret is in an answer, an error or the audit log, whoever asks.",
    "N07": "Lists, counts, searches and errors tell nothing of another tenant.",
    "N08": "A fresh installation has no default password; without a good secret key it does not start.",
    "N09": "Fields that a caller may not set are not set by naming them.",
    "N10": "A cookie of before the logout opens nothing afterwards.",
    "N11": "A new password, a lost role or a disabled account counts at once for sessions and tokens.",
    "N12": "A page elsewhere changes nothing with a visitor's cookie; reading changes nothing.",
    "N13": "Each login has a new session, in a cookie that scripts and plain http do not get.",
    "N14": "Guessing passwords is slowed by account and address; unknown names look like known ones.",
    "N15": "Forged, old or misdirected tokens of an identity provider are refused.",
    "N16": "A login by an identity provider is bound to who began it.",
    "N17": "What an old, ended or foreign attempt says or asks counts no more.",
    "N18": "A worker gets nothing of another group or worker.",
    "N19": "Asking to join needs the secret, and gives nobody another machine's place.",
    "N1A": "Nobody gives a role above the own one, or takes an organisation its last owner.",
    "N1C": "A forged forwarding header changes neither the limit of tries nor the address in the audit log.",
    "N20": "Names of files that lead elsewhere are refused; unusual ones are kept as they are.",
    "N21": "Whatever the name, what is opened lies below its folder.",
    "N22": "A link in the outputs is not followed out of them.",
    "N24": "One object's address opens no other, however alike their names are.",
    "N25": "Archives of code that climb, link out, hide entries or swell are refused before a file is written.",
    "N28": "An address of a repository is never an option, a command or another protocol for git.",
    "N2A": "Repositories with too much, or with what should not be in one, meet a limit.",
    "N2B": "An unknown host key gets nothing; a private key lies open to nobody, and only while it is needed.",
    "N30": "Addresses that users name lead to no network inside, in whatever way they are written.",
    "N31": "Nor do redirects.",
    "N32": "The address that was judged is the one that is connected to.",
    "N33": "Other schemes than those of the purpose are refused.",
    "N35": "Webhooks are signed both ways, and old ones are refused.",
    "N36": "A refusal does not tell an open port from a closed one.",
    "N37": "Hostile YAML is refused soon and in little memory.",
    "N38": "Hostile JSON is refused with a sentence.",
    "N39": "No expression or pattern of a user takes time without end.",
    "N3A": "A parameter's value is one word of the command, whatever is in it.",
    "N3B": "No value becomes part of a question to the database.",
    "N3E": "Templates and formats in names and messages stay text.",
}

NOT_YET: dict[str, str] = {
    "N15": "login by identity providers (OIDC, SAML): there are local users only",
    "N16": "login by identity providers (OIDC, SAML): there are local users only",
    "N1A": "calls that give roles or invite people: no route changes a membership",
    "N35": "webhooks: nothing is received or sent by one",
}

# What is wrong elsewhere, and why it can't be so here.
DEFECTS: dict[str, tuple[str, str]] = {
    "I01": (
        "Nobody can install alone: names, addresses or private images must come from the vendor.",
        "All that is asked for is one's own, or printed by one's own control plane (`remora server invite`); images "
        "are the distributions'.",
    ),
    "I02": (
        "Programs name variables that are nowhere, and arguments that an unpinned provider has dropped.",
        "Every program is brought up by the real provider in the tests; versions are pinned by checksum.",
    ),
    "I03": (
        "The queue's password stands in the machine's user data.",
        "User data names places of secrets. The queue's machine makes them at its first boot; no state has them.",
    ),
    "I04": (
        "Conditions with `ForAllValues` hold for what has no tag: machines that are not ours may be ended.",
        "No condition holds where its key is missing; untagged resources stand in the table that is evaluated.",
    ),
    "I05": (
        "What a machine runs as root comes by curl into a shell, on a system whose support has ended.",
        "Releases are signed and verified on the machine; systems are Debian 12 and Ubuntu 24.04.",
    ),
    "I06": (
        "The queue's certificate needs port 80 open to the world and a name that the vendor owns.",
        "The queue's machine is its own authority: the port of TLS is the one that is open, to workers and master.",
    ),
    "I07": (
        "Queues without TLS, dashboards on plain http, secrets of 15 bits, names that collide, rights on everything.",
        "TLS with certificates of both sides, https or an explicit word, 256 bits, names with letters of their own, "
        "named actions.",
    ),
    "I08": (
        "Credentials that never expire, and roles that reach every machine of a subscription.",
        "No key is made: roles are taken on by name, for a while, for what carries the installation's tag.",
    ),
    "I09": (
        "The control plane may do everything with the bucket of data (`s3:*`).",
        "It may read no object; who signs addresses may get, put and list, and never remove a version or a bucket.",
    ),
    "I10": (
        "Pages suggest to let the whole world in by ssh.",
        "A rule over every stack refuses it, and no page says it.",
    ),
}
