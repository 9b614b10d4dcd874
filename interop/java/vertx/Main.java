import io.vertx.core.Vertx;
import io.vertx.core.http.WebSocketClient;
import io.vertx.core.http.WebSocketConnectOptions;

public final class Main {
    public static void main(String[] words) throws Exception {
        WebSocketClient client = Vertx.vertx().createWebSocketClient();
        Driver.run((url, token) -> {
            WebSocketConnectOptions options = new WebSocketConnectOptions().setAbsoluteURI(url);
            Driver.protocols(token).forEach(options::addSubProtocol);
            client.connect(options).onFailure(Driver::end).onSuccess(socket -> {
                Driver.opened();
                socket.textMessageHandler(text -> Driver.message(text, null));
                socket.exceptionHandler(Driver::error);
                socket.closeHandler(ignored -> Driver.end("close " + socket.closeStatusCode() + " " + socket.closeReason()));
            });
        });
    }
}
