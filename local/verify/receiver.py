"""A receiver that verifies with the official Python library and says what it saw. Usage: receiver.py SECRET"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            Webhook(sys.argv[1]).verify(body.decode(), {name.lower(): value for name, value in self.headers.items()})
            status, word = 204, "verified"
        except Exception as error:
            status, word = 400, f"refused: {error}"
        self.send_response(status)
        self.end_headers()
        print(word, self.headers["webhook-id"], flush=True)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
