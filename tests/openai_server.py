"""A real OpenAI-compatible endpoint on loopback: a tiny random language model answers, faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from densespec.generation.chat import Request

#: Number of a request, from 0 → what befalls it: a fault of :meth:`_Handler.do_POST`, or "".
Fault = Callable[[int], str]


class Endpoint:
    """What answers: the language model in a folder. A subclass may answer otherwise.

    Attributes:
        finish_reason: of all answers.
        address: up to ``/v1``.
        bodies: of all requests, in order of arrival.
        keys: bearer tokens that came with them.
        answered: seeds of requests that got an answer.
        most_at_once: most requests that were in work at the same time.
        fault: what befalls a request.
    """

    finish_reason = "stop"

    def __init__(self, folder: Path | None = None) -> None:
        from densespec.generation.transformers import load_engine

        self.engine = load_engine(str(folder), None, "cpu", "float32", False) if folder else None
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.answered: list[int] = []
        self.at_once = self.most_at_once = 0
        self.fault: Fault = lambda number: ""
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.address = ""

    def answer(self, body: dict[str, Any]) -> tuple[str, int, int]:
        """Text and numbers of tokens: those of the writer ``transformers`` with the same model."""
        from densespec.generation.transformers import answers

        [given] = answers(
            self.engine, [Request(body["messages"], body["seed"])], temperature=body["temperature"],
            max_tokens=body["max_tokens"], stop=body.get("stop", []), batch_size=1, template_options={},
        )  # fmt: skip
        return given.text, given.prompt_tokens, given.completion_tokens

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, in the form of a chat completion."""
        text, prompt_tokens, completion_tokens = self.answer(body)
        return {
            "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [
                {
                    "index": 0, "finish_reason": self.finish_reason,
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }  # fmt: skip


@contextmanager
def openai_server(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Serve until the block ends."""

    class Handler(_Handler):
        pass

    Handler.endpoint = endpoint
    server = _Server(("127.0.0.1", 0), Handler)
    endpoint.address = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield endpoint
    finally:
        endpoint.stopped.set()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """Say nothing of clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoint: Endpoint

    def do_POST(self) -> None:
        """Answer a chat completion, or commit a fault: a status, hang, truncated, cut, page, refused, busy
        (429 without a time to wait), no-credit."""
        endpoint = self.endpoint
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with endpoint.lock:
            number = len(endpoint.bodies)
            endpoint.bodies.append(body)
            endpoint.keys.append(self.headers["authorization"])
            endpoint.at_once += 1
            endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
        try:
            self._answer(body, endpoint.fault(number))
        except ConnectionError:  # the client has gone
            self.close_connection = True
        finally:
            with endpoint.lock:
                endpoint.at_once -= 1

    def _answer(self, body: dict[str, Any], fault: str) -> None:
        endpoint = self.endpoint
        if fault == "hang":
            endpoint.stopped.wait(60)
            self.close_connection = True
        elif fault == "refused":
            self._send(400, json.dumps({"error": {"message": "filtered", "code": "content_filter"}}))
        elif fault == "busy":
            self._send(429, json.dumps({"error": {"message": "too many requests"}}))
        elif fault == "no-credit":
            error = {"message": "You exceeded your quota", "type": "insufficient_quota", "code": None}
            self._send(429, json.dumps({"error": error}))
        elif fault.isdigit():
            message = f"status {fault}, for {self.headers['authorization']}"
            headers = {"Retry-After": "1"} if fault == "429" else {}
            self._send(int(fault), json.dumps({"error": {"message": message}}), headers)
        else:
            with endpoint.lock:
                text = json.dumps(endpoint.complete(body))
            if fault == "truncated":
                text = text[: len(text) // 2]
            elif fault == "page":
                text = "<html>a proxy's page</html>"
            self._send(200, text, cut=fault == "cut")
            if not fault:
                with endpoint.lock:
                    endpoint.answered.append(body.get("seed"))

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if text.startswith("<") else "application/json")
        self.send_header("Content-Length", str(len(data) + 100 * cut))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = cut

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""
