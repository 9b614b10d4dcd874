import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Socket;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.json.JSONArray;
import org.json.JSONObject;

/** A page in Java: says that it is connected, hears 200 events, and asks for an acknowledgement. */
public final class Client {
    private static final int EVENTS = 200;
    private static final long PATIENCE_S = 120;

    public static void main(String[] arguments) throws Exception {
        String origin = arguments[0];
        String transport = arguments[1];
        IO.Options options = new IO.Options();
        options.forceNew = true;
        options.auth = Map.of("user", "alice", "topics", "room:java-" + transport);
        if (!transport.equals("both")) {
            options.transports = new String[] {transport};
        }
        Socket socket = IO.socket(URI.create(origin), options);
        LinkedBlockingQueue<Integer> heard = new LinkedBlockingQueue<>();
        LinkedBlockingQueue<Object> acknowledged = new LinkedBlockingQueue<>();
        socket.on("m", data -> heard.add(((JSONObject) data[0]).optInt("n")));
        socket.on(Socket.EVENT_CONNECT, none -> System.out.println("connected"));
        socket.on(Socket.EVENT_CONNECT_ERROR, why -> System.err.println(why[0]));
        socket.connect();
        List<Integer> numbers = new ArrayList<>();
        while (numbers.size() < EVENTS) {
            Integer n = heard.poll(PATIENCE_S, TimeUnit.SECONDS);
            if (n == null) {
                throw new IllegalStateException("heard " + numbers.size() + " events in time");
            }
            numbers.add(n);
        }
        socket.emit("ping", new Object[] {new JSONObject()}, (Ack) data -> acknowledged.add(data[0]));
        Object ack = acknowledged.poll(PATIENCE_S, TimeUnit.SECONDS);
        System.out.println(new JSONObject().put("heard", new JSONArray(numbers)).put("ack", ack));
        socket.disconnect();
        System.exit(0);
    }
}
