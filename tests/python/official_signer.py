"""Asks Tencent's official library (tls-sig-api-v2) whether it would have made the same UserSigs.

Reads JSON lines with the members sdkappid, key and usersig from standard input. Each UserSig is decoded, signed again
by the official library for the same moment, lifetime and userbuf, and compared member by member. Token text is not
compared: member order, spacing and deflate output differ between good implementations.

Writes one JSON line for each: same (true or false), members (as decoded) and problem (text, or null). Keys are never
written. Exit status: 0 when all are the same, 1 when one differs, 2 when the input is not of that form.
"""

import base64
import json
import sys
import zlib
from unittest import mock

import TLSSigAPIv2 as official


def main():
    try:
        questions = [json.loads(line) for line in sys.stdin if line.strip()]
        verdicts = [verdict(q["sdkappid"], q["key"], q["usersig"]) for q in questions]
    except (ValueError, KeyError, TypeError) as error:
        print(f"not JSON lines of sdkappid, key and usersig: {error!r}", file=sys.stderr)
        return 2
    for line in verdicts:
        print(json.dumps(line))
    return 0 if all(line["same"] for line in verdicts) else 1


def verdict(sdkappid, key, usersig):
    try:
        members = decode(usersig)
        again = decode(signed_again(sdkappid, key, members))
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        return {"same": False, "members": None, "problem": f"cannot be decoded: {error!r}"}
    names = sorted(set(members) | set(again))
    different = [name for name in names if members.get(name) != again.get(name)]
    problem = f"differs in {', '.join(different)}" if different else None
    return {"same": not different, "members": members, "problem": problem}


def decode(usersig):
    """The members inside a UserSig."""
    members = json.loads(zlib.decompress(official.base64_decode_url(usersig.encode("ascii"))))
    if not isinstance(members, dict):
        raise ValueError("no JSON object inside")
    return members


def signed_again(sdkappid, key, members):
    """The official library's own UserSig for the same account, moment, lifetime and userbuf."""
    signer = official.TLSSigAPIv2(sdkappid, key)
    identifier, expire = members["TLS.identifier"], members["TLS.expire"]
    # The library asks the clock itself.
    with mock.patch.object(official.time, "time", return_value=members["TLS.time"]):
        if "TLS.userbuf" in members:
            userbuf = base64.b64decode(members["TLS.userbuf"], validate=True)
            return signer.gen_sig_with_userbuf(identifier, expire, userbuf)
        return signer.gen_sig(identifier, expire)


if __name__ == "__main__":
    sys.exit(main())
