import java.net.URI;
import org.eclipse.jetty.websocket.api.Session;
import org.eclipse.jetty.websocket.client.ClientUpgradeRequest;
import org.eclipse.jetty.websocket.client.WebSocketClient;

public final class Main {
    public static void main(String[] words) throws Exception {
        WebSocketClient client = new WebSocketClient();
        client.start();
        Driver.run((url, token) -> {
            ClientUpgradeRequest request = new ClientUpgradeRequest(URI.create(url));
            request.setSubProtocols(Driver.protocols(token));
            client.connect(new Endpoint(), request).exceptionally(error -> {
                Driver.end(error);
                return null;
            });
        });
    }

    public static final class Endpoint implements Session.Listener.AutoDemanding {
        @Override
        public void onWebSocketOpen(Session session) {
            Driver.opened();
        }

        @Override
        public void onWebSocketText(String text) {
            Driver.message(text, null);
        }

        @Override
        public void onWebSocketError(Throwable error) {
            Driver.error(error);
        }

        @Override
        public void onWebSocketClose(int code, String reason, org.eclipse.jetty.websocket.api.Callback callback) {
            callback.succeed();
            Driver.end("close " + code + " " + reason);
        }
    }
}
