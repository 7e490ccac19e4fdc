"""A provider in one small process: statuses after a fixed time, for as many callers as ask.

python -m bench.responder SECONDS prints its port. Of a hundred orders it is asked for, three are
completed, three are running, and the others are as they were.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs

# As `orders_world.fill_orders` has them, by the ID.
_OPEN = ("pending", "processing", "in_progress")


def _status(order: str) -> dict[str, str]:
    number = int(order)
    if number % 100 < 3:
        return {"charge": "1", "start_count": "5", "status": "Completed", "remains": "0"}
    if number % 100 < 6:
        return {"charge": "1", "start_count": "5", "status": "In progress", "remains": "400"}
    return {"status": _OPEN[number % 3]}


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            form = parse_qs((await reader.readexactly(length)).decode())
            orders = form["orders"][0].split(",") if "orders" in form else []
            if form:
                await asyncio.sleep(seconds)
            body = json.dumps({order: _status(order) for order in orders}).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _main(seconds: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(reader, writer, seconds)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1])))
