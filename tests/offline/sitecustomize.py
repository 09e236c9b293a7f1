"""With this folder on PYTHONPATH, Python and all it starts reach nobody but this machine; `make test` runs the notebooks so.

An audit hook sees every connection and every look-up of a name before it is made, also those of libraries.
"""

import ipaddress
import sys

ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}  # arguments: socket, address
NAME = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}  # host, …


def stay_here(event, arguments):
    """Raises OSError, naming the host, before a connection or a look-up leaves this machine."""
    if event in ADDRESS:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path or None: a socket file, or connected already
    elif event in NAME:
        host = arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0]
    else:
        return
    if not is_here(host):
        raise OSError(f"offline: {host!r} was asked for, but notebooks must run without a network")


def is_here(host):
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, to be looked up


sys.addaudithook(stay_here)
