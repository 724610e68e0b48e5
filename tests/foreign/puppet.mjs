// Socket.IO clients moved by a test: a line of JSON in is an order, a line out is what happened.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

function connect({ name, url, options }) {
  const socket = io(url, { reconnection: false, forceNew: true, ...options });
  sockets.set(name, socket);
  socket.on("connect", () => {
    say({ name, kind: "connected", via: socket.io.engine.transport.name });
  });
  socket.on("connect_error", (error) => say({ name, kind: "refused", message: error.message }));
  socket.on("disconnect", (reason) => say({ name, kind: "disconnected", message: reason }));
  socket.onAny((event, ...args) => say({ name, kind: "heard", event, args }));
}

function filled(data, fill) {
  // a large picture is made here: it need not cross the pipe
  return fill ? { ...data, [fill.field]: "A".repeat(fill.bytes) } : data;
}

function emit({ name, event, data, fill, call }) {
  const rest = data === undefined ? [] : [filled(data, fill)];
  const answered = call ? [(answer) => say({ name, kind: "answered", call, answer })] : [];
  sockets.get(name).emit(event, ...rest, ...answered);
}

const orders = {
  connect,
  emit,
  binary: ({ name, event, bytes }) => sockets.get(name).emit(event, Buffer.alloc(bytes, 7)),
  close: ({ name }) => sockets.get(name).close(),
  break: ({ name }) => sockets.get(name).io.engine.transport.ws.terminate(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { order, ...rest } = JSON.parse(line);
  orders[order](rest);
}
process.exit(0);
