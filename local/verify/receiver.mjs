// A receiver that verifies with the official JavaScript library and says what it saw. Usage: receiver.mjs SECRET
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    let [status, word] = [204, "verified"];
    try {
      new Webhook(process.argv[2]).verify(Buffer.concat(chunks).toString(), request.headers);
    } catch (error) {
      [status, word] = [400, `refused: ${error.message}`];
    }
    response.writeHead(status).end();
    console.log(word, request.headers["webhook-id"]);
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
