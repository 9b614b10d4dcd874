import jakarta.websocket.ContainerProvider;
import jakarta.websocket.WebSocketContainer;
import java.net.URI;
import java.util.List;
import org.springframework.web.socket.CloseStatus;
import org.springframework.web.socket.TextMessage;
import org.springframework.web.socket.WebSocketHttpHeaders;
import org.springframework.web.socket.WebSocketSession;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.handler.TextWebSocketHandler;

/** {@code text-buffer=1MiB}: messages above 8,192 characters. */
public final class Main {
    public static void main(String[] words) throws Exception {
        WebSocketContainer container = ContainerProvider.getWebSocketContainer();
        if (List.of(words).contains("text-buffer=1MiB")) {
            container.setDefaultMaxTextMessageBufferSize(1 << 20);
        }
        StandardWebSocketClient client = new StandardWebSocketClient(container);
        Driver.run((url, token) -> {
            WebSocketHttpHeaders headers = new WebSocketHttpHeaders();
            headers.setSecWebSocketProtocol(Driver.protocols(token));
            client.execute(new Handler(), headers, URI.create(url)).exceptionally(error -> {
                Driver.end(error);
                return null;
            });
        });
    }

    private static final class Handler extends TextWebSocketHandler {
        @Override
        public void afterConnectionEstablished(WebSocketSession session) {
            Driver.opened();
        }

        @Override
        protected void handleTextMessage(WebSocketSession session, TextMessage message) {
            Driver.message(message.getPayload(), null);
        }

        @Override
        public void handleTransportError(WebSocketSession session, Throwable error) {
            Driver.error(error);
        }

        @Override
        public void afterConnectionClosed(WebSocketSession session, CloseStatus status) {
            Driver.end(status);
        }
    }
}
