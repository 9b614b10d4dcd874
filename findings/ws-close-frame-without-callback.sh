#!/usr/bin/env bash
# okhttp 5.3.2 (Maven Central), Java 17.
#
# The server closes a WebSocket with 4401, waits, and then ends the TCP connection. A listener that
# overrides onOpen, onMessage, onClosed and onFailure is told nothing: the library reports the close frame
# to onClosing only, does not answer it before the application calls close(), and drops the later end of
# the connection. With `onClosing { webSocket.close(1000, null) }` onClosed follows.
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
      <groupId>com.squareup.okhttp3</groupId>
      <artifactId>okhttp-jvm</artifactId>
      <version>5.3.2</version>
    </dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode -Dstyle.color=never dependency:copy-dependencies -DoutputDirectory=lib
cat > Finding.java <<'JAVA'
import java.io.*;
import java.net.*;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Base64;
import java.util.concurrent.*;
import okhttp3.*;

public class Finding {
    // Accepts one WebSocket, closes it with 4401, ends TCP after a second, and tells whether the close was answered.
    static void serve(ServerSocket server, BlockingQueue<String> said) {
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
            out.write(new byte[] {(byte) 0x88, 2, (byte) (4401 >> 8), (byte) 4401});
            out.flush();
            socket.setSoTimeout(1000);
            try {
                said.add(lines.read() >= 0 ? "server: the close frame is answered" : "server: end of stream");
            } catch (SocketTimeoutException none) {
                said.add("server: no answer in a second, TCP ends");
            }
        } catch (Exception error) {
            said.add("server: " + error);
        }
    }

    static void run(boolean closes) throws Exception {
        BlockingQueue<String> said = new LinkedBlockingQueue<>();
        ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        Thread serving = new Thread(() -> serve(server, said));
        serving.start();
        Request request = new Request.Builder().url("ws://127.0.0.1:" + server.getLocalPort() + "/").build();
        WebSocketListener listener = new WebSocketListener() {
            @Override public void onOpen(WebSocket socket, Response response) { said.add("onOpen"); }
            @Override public void onClosed(WebSocket socket, int code, String reason) { said.add("onClosed " + code); }
            @Override public void onFailure(WebSocket socket, Throwable error, Response response) { said.add("onFailure"); }
            @Override public void onClosing(WebSocket socket, int code, String reason) {
                if (closes) socket.close(1000, null);
            }
        };
        new OkHttpClient().newWebSocket(request, listener);
        serving.join();
        System.out.println(closes ? "with onClosing:" : "without onClosing:");
        ArrayList<String> lines = new ArrayList<>();
        for (String line; (line = said.poll(3, TimeUnit.SECONDS)) != null; ) lines.add("  " + line);
        // The two ends write at the same time.
        lines.stream().sorted().forEach(System.out::println);
    }

    public static void main(String[] words) throws Exception {
        run(false);
        run(true);
        System.exit(0);
    }
}
JAVA
java -cp 'lib/*' Finding.java | tee seen
diff seen - <<'SEEN'
without onClosing:
  onOpen
  server: no answer in a second, TCP ends
with onClosing:
  onClosed 4401
  onOpen
  server: the close frame is answered
SEEN
