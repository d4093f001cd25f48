"""A stand-in for sglang's server: same command line, same port, no model.

It answers what the tests ask: that the token arrived, that the mounted
Hugging Face cache is there, how large /dev/shm is.
"""

import argparse
import json
import os
import signal
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CACHE = os.path.expanduser("~/.cache/huggingface")


class Server(ThreadingHTTPServer):
    def server_bind(self):
        # The base class asks the DNS for the host's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


class Handler(BaseHTTPRequestHandler):
    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        model = self.server.args.model_path
        shm = os.statvfs("/dev/shm")
        pages = {
            "/": {"stand-in": True, "model_path": model},
            "/health": {},
            "/v1/models": {"object": "list", "data": [{"id": model, "object": "model"}]},
            "/get_model_info": {
                "model_path": model,
                "hf_token": os.environ.get("HF_TOKEN", ""),
                "cache": sorted(os.listdir(CACHE)) if os.path.isdir(CACHE) else None,
                "shm_bytes": shm.f_blocks * shm.f_frsize,
                "pid": os.getpid(),
            },
        }
        if self.path in pages:
            self.answer(200, pages[self.path])
        else:
            self.answer(404, {"error": "no such page"})

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        asked = json.loads(self.rfile.read(length) or b"{}")
        said = (asked.get("messages") or [{}])[-1].get("content", "")
        message = {"role": "assistant", "content": "you said: " + said}
        self.answer(200, {"model": self.server.args.model_path, "choices": [{"index": 0, "message": message}]})


def main():
    p = argparse.ArgumentParser(prog="sglang.launch_server")
    p.add_argument("--model-path", required=True)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=30000)
    args = p.parse_args()
    # The first process of a container gets no default action for signals.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server((args.host, args.port), Handler)
    server.args = args
    print(f"stand-in for sglang: model {args.model_path}", flush=True)
    print(f"Uvicorn running on http://{args.host}:{args.port}", flush=True)
    print("The server is fired up and ready to roll!", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
