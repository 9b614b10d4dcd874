import jakarta.websocket.ClientEndpointConfig;
import jakarta.websocket.CloseReason;
import jakarta.websocket.ContainerProvider;
import jakarta.websocket.Endpoint;
import jakarta.websocket.EndpointConfig;
import jakarta.websocket.MessageHandler;
import jakarta.websocket.Session;
import jakarta.websocket.WebSocketContainer;
import java.net.URI;

public final class Main {
    public static void main(String[] words) throws Exception {
        WebSocketContainer container = ContainerProvider.getWebSocketContainer();
        Driver.run((url, token) -> {
            ClientEndpointConfig configuration =
                    ClientEndpointConfig.Builder.create().preferredSubprotocols(Driver.protocols(token)).build();
            container.connectToServer(new Listener(), configuration, URI.create(url));
        });
    }

    public static final class Listener extends Endpoint {
        @Override
        public void onOpen(Session session, EndpointConfig configuration) {
            session.addMessageHandler(String.class, (MessageHandler.Whole<String>) text -> Driver.message(text, null));
            Driver.opened();
        }

        @Override
        public void onError(Session session, Throwable error) {
            Driver.error(error);
        }

        @Override
        public void onClose(Session session, CloseReason reason) {
            Driver.end(reason);
        }
    }
}
