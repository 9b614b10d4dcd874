import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.WebSocket;
import okhttp3.WebSocketListener;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

public final class Main {
    private static final OkHttpClient CLIENT = new OkHttpClient();

    public static void main(String[] words) throws Exception {
        Driver.run(words[0].equals("sse") ? Main::sse : Main::ws);
    }

    private static void sse(String url, String token) {
        Request request = new Request.Builder().url(url).build();
        EventSources.createFactory(CLIENT).newEventSource(request, new EventSourceListener() {
            @Override
            public void onOpen(EventSource source, Response response) {
                Driver.opened();
            }

            @Override
            public void onEvent(EventSource source, String id, String type, String data) {
                Driver.message(data, id);
            }

            @Override
            public void onClosed(EventSource source) {
                Driver.end("onClosed");
            }

            @Override
            public void onFailure(EventSource source, Throwable error, Response response) {
                Driver.end("onFailure " + error + " " + response);
            }
        });
    }

    private static void ws(String url, String token) {
        String protocols = String.join(", ", Driver.protocols(token));
        Request request = new Request.Builder().url(url).header("Sec-WebSocket-Protocol", protocols).build();
        CLIENT.newWebSocket(request, new WebSocketListener() {
            @Override
            public void onOpen(WebSocket socket, Response response) {
                Driver.opened();
            }

            @Override
            public void onMessage(WebSocket socket, String text) {
                Driver.message(text, null);
            }

            // Without this the close frame is never answered, and no callback tells that it came.
            @Override
            public void onClosing(WebSocket socket, int code, String reason) {
                socket.close(1000, null);
            }

            @Override
            public void onClosed(WebSocket socket, int code, String reason) {
                Driver.end("onClosed " + code + " " + reason);
            }

            @Override
            public void onFailure(WebSocket socket, Throwable error, Response response) {
                Driver.end("onFailure " + error + " " + response);
            }
        });
    }
}
