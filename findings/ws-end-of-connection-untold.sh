#!/usr/bin/env bash
# java.net.http.WebSocket of JDK 17.
#
# The server sends a message and then ends the TCP connection at once. The listener always asks for more
# (`request(1)` in every callback). Most connections end with onClose(1006) or onError, as documented, but
# for a few of a hundred the listener is told nothing, ever: a race inside the library. The script opens
# up to 2,000 connections, 8 at a time, until one has been silent for 20 seconds.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
cat > Finding.java <<'JAVA'
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Finding {
    // Accepts one WebSocket, sends a text message of 500 bytes, and ends the connection.
    static void serve(Socket socket) {
        try (socket) {
            BufferedReader lines = new BufferedReader(new InputStreamReader(socket.getInputStream(), "ISO-8859-1"));
            String key = "";
            for (String line; !(line = lines.readLine()).isEmpty(); ) {
                if (line.toLowerCase().startsWith("sec-websocket-key:")) key = line.substring(18).trim();
            }
            byte[] hash = MessageDigest.getInstance("SHA-1")
                    .digest((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").getBytes());
            OutputStream out = socket.getOutputStream();
            out.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Accept: " + Base64.getEncoder().encodeToString(hash) + "\r\n\r\n").getBytes());
            out.flush();
            Thread.sleep(50);
            ByteArrayOutputStream frame = new ByteArrayOutputStream();
            frame.write(new byte[] {(byte) 0x81, 126, (byte) (500 >> 8), (byte) 500});
            frame.write("x".repeat(500).getBytes());
            out.write(frame.toByteArray());
            out.flush();
        } catch (Exception error) {
            System.out.println("server: " + error);
        }
    }

    static final class Listener implements WebSocket.Listener {
        final CountDownLatch message = new CountDownLatch(1);
        final CountDownLatch end = new CountDownLatch(1);

        @Override public void onOpen(WebSocket socket) { socket.request(1); }

        @Override public CompletionStage<?> onText(WebSocket socket, CharSequence text, boolean last) {
            if (last) message.countDown();
            socket.request(1);
            return null;
        }

        @Override public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            end.countDown();
            return null;
        }

        @Override public void onError(WebSocket socket, Throwable error) { end.countDown(); }
    }

    public static void main(String[] words) throws Exception {
        ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        ExecutorService threads = Executors.newCachedThreadPool();
        threads.execute(() -> {
            while (true) {
                try {
                    Socket socket = server.accept();
                    threads.execute(() -> serve(socket));
                } catch (IOException error) {
                    return;
                }
            }
        });
        HttpClient client = HttpClient.newHttpClient();
        URI uri = URI.create("ws://127.0.0.1:" + server.getLocalPort() + "/");
        AtomicInteger opened = new AtomicInteger();
        AtomicBoolean silent = new AtomicBoolean();
        CountDownLatch workers = new CountDownLatch(8);
        for (int worker = 0; worker < 8; worker++) {
            threads.execute(() -> {
                try {
                    while (!silent.get() && opened.incrementAndGet() <= 2000) {
                        Listener listener = new Listener();
                        WebSocket socket = client.newWebSocketBuilder().buildAsync(uri, listener).join();
                        listener.message.await();
                        if (!listener.end.await(20, TimeUnit.SECONDS)) silent.set(true);
                        socket.abort();
                    }
                } catch (Exception error) {
                    System.out.println("client: " + error);
                } finally {
                    workers.countDown();
                }
            });
        }
        workers.await();
        System.out.println(silent.get()
                ? "a connection has ended without onClose and without onError"
                : "every end was told");
        System.exit(0);
    }
}
JAVA
java Finding.java | tee seen
diff seen - <<'SEEN'
a connection has ended without onClose and without onError
SEEN
