import java.net.URI;
import java.util.List;
import org.java_websocket.client.WebSocketClient;
import org.java_websocket.drafts.Draft_6455;
import org.java_websocket.handshake.ServerHandshake;
import org.java_websocket.protocols.IProtocol;
import org.java_websocket.protocols.Protocol;

public final class Main {
    public static void main(String[] words) throws Exception {
        Driver.run((url, token) -> {
            List<IProtocol> protocols = List.copyOf(Driver.protocols(token).stream().map(Protocol::new).toList());
            new WebSocketClient(URI.create(url), new Draft_6455(List.of(), protocols)) {
                @Override
                public void onOpen(ServerHandshake handshake) {
                    Driver.opened();
                }

                @Override
                public void onMessage(String text) {
                    Driver.message(text, null);
                }

                @Override
                public void onClose(int code, String reason, boolean remote) {
                    Driver.end("close " + code + " " + reason);
                }

                @Override
                public void onError(Exception error) {
                    Driver.error(error);
                }
            }.connect();
        });
    }
}
