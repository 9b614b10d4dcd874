import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.List;
import java.util.concurrent.CompletionStage;

public final class Main {
    public static void main(String[] words) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        Driver.run((url, token) -> {
            List<String> protocols = Driver.protocols(token);
            client.newWebSocketBuilder()
                    .subprotocols(protocols.get(0), protocols.get(1))
                    .buildAsync(URI.create(url), new Listener())
                    .exceptionally(error -> {
                        Driver.end(error);
                        return null;
                    });
        });
    }

    private static final class Listener implements WebSocket.Listener {
        // A message comes in pieces of at most 16 KiB.
        private final StringBuilder pieces = new StringBuilder();

        @Override
        public void onOpen(WebSocket socket) {
            Driver.opened();
            socket.request(1);
        }

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence piece, boolean last) {
            pieces.append(piece);
            if (last) {
                Driver.message(pieces.toString(), null);
                pieces.setLength(0);
            }
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            Driver.end("close " + code + " " + reason);
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            Driver.end(error);
        }
    }
}
