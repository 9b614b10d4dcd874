#!/usr/bin/env bash
# vertx-core 5.2.3 (Maven Central), Java 17.
#
# The server sends three text messages: a small one, one of 300,000 bytes in fragments of 10,000, and a
# small one. The second is above `maxWebSocketMessageSize` (262,144 by default). RFC 6455 has close code
# 1009 for that. The library drops the message, keeps the connection, and delivers the third message. Only
# an exception handler, which an application need not set, is told.
set -euo pipefail
directory=$(mktemp -d) && trap 'rm -rf "$directory"' EXIT && cd "$directory"
cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>finding</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.vertx</groupId>
      <artifactId>vertx-core</artifactId>
      <version>5.2.3</version>
    </dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode -Dstyle.color=never dependency:copy-dependencies -DoutputDirectory=lib
cat > Finding.java <<'JAVA'
import io.vertx.core.Vertx;
import java.io.*;
import java.net.*;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.concurrent.CountDownLatch;

public class Finding {
    static void frame(OutputStream out, int firstByte, byte[] payload) throws IOException {
        out.write(firstByte);
        if (payload.length < 126) {
            out.write(payload.length);
        } else {
            out.write(new byte[] {126, (byte) (payload.length >> 8), (byte) payload.length});
        }
        out.write(payload);
    }

    static void serve(ServerSocket server) {
        try (Socket socket = server.accept()) {
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
            frame(out, 0x81, "first".getBytes());
            byte[] piece = "x".repeat(10_000).getBytes();
            for (int sent = 0; sent < 30; sent++) {
                frame(out, (sent == 29 ? 0x80 : 0) | (sent == 0 ? 1 : 0), piece);
            }
            frame(out, 0x81, "third".getBytes());
            out.flush();
            lines.read();
        } catch (Exception error) {
            System.out.println("server: " + error);
        }
    }

    public static void main(String[] words) throws Exception {
        ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        new Thread(() -> serve(server)).start();
        CountDownLatch third = new CountDownLatch(1);
        Vertx.vertx().createWebSocketClient().connect(server.getLocalPort(), "127.0.0.1", "/").onSuccess(socket -> {
            socket.exceptionHandler(error -> System.out.println("exception " + error.getClass().getSimpleName()));
            socket.closeHandler(ignored -> System.out.println("close " + socket.closeStatusCode()));
            socket.textMessageHandler(text -> {
                System.out.println("message of " + text.length() + (text.length() < 9 ? ": " + text : ""));
                if (text.equals("third")) third.countDown();
            });
        });
        third.await();
        System.out.println("the connection is open");
        System.exit(0);
    }
}
JAVA
java -cp 'lib/*' Finding.java | tee seen
diff seen - <<'SEEN'
message of 5: first
exception IllegalStateException
message of 5: third
the connection is open
SEEN
