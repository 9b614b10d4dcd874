import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * Runs the library of a module: each has a class Main, called with a transport and words. Each line of standard input,
 * {@code URL TOKEN}, opens the library. What it says becomes lines of standard output.
 */
public final class Driver {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    /** Opens the library once, and returns at once or when it has ended. */
    public interface Library {
        void open(String url, String token) throws Exception;
    }

    private Driver() {}

    public static void run(Library library) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ");
            Thread thread = new Thread(() -> open(library, words[0], words[1]));
            thread.setDaemon(true);
            thread.start();
        }
        System.exit(0);
    }

    private static void open(Library library, String url, String token) {
        try {
            library.open(url, token);
        } catch (Throwable error) {
            end("raised " + error);
        }
    }

    public static List<String> protocols(String token) {
        return List.of("throughline.v1", "bearer." + token);
    }

    public static void opened() {
        print("{\"saw\":\"open\"}");
    }

    public static void message(String data, String id) {
        print("{\"saw\":\"message\",\"data\":" + json(data) + ",\"id\":" + json(id) + "}");
    }

    public static void error(Object error) {
        print("{\"saw\":\"error\",\"text\":" + json(String.valueOf(error)) + "}");
    }

    /** The library ended and will not go on by itself. */
    public static void end(Object text) {
        print("{\"saw\":\"end\",\"text\":" + json(String.valueOf(text)) + "}");
    }

    private static synchronized void print(String line) {
        OUT.print(line + "\n");
        OUT.flush();
    }

    private static String json(String text) {
        if (text == null) {
            return "null";
        }
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                json.append('\\').append(c);
            } else if (c < ' ' || c >= 0x7f) {
                json.append(String.format("\\u%04x", (int) c));
            } else {
                json.append(c);
            }
        }
        return json.append('"').toString();
    }
}
