// Describe cells through libc2t from .NET: Describe.exe bundle|socket PATH TABLE
//
// The table has lines "cell <tab> gene <tab> count"; the lines of a cell stand together.
// It compiles with `mcs Describe.cs` and with any later C#; .NET finds libc2t.so.1 by LD_LIBRARY_PATH.

using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

static class C2t
{
    // On Windows the library is c2t-1.dll.
    const string Library = "libc2t.so.1";

    // Anything but 0 stops the request. Keep the delegate alive while a call uses it.
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    public delegate int Stream(IntPtr user, UIntPtr cell, UIntPtr changedFrom, IntPtr text, int finished);

    [DllImport(Library)] public static extern int c2t_abi_version();
    [DllImport(Library)] public static extern IntPtr c2t_last_problem();
    [DllImport(Library)] public static extern IntPtr c2t_last_hint();
    [DllImport(Library)] public static extern int c2t_options_new(out IntPtr options);
    [DllImport(Library)] public static extern int c2t_options_set(IntPtr options, byte[] key, byte[] value);
    [DllImport(Library)] public static extern void c2t_options_free(IntPtr options);
    [DllImport(Library)] public static extern int c2t_open(IntPtr options, out IntPtr service);
    [DllImport(Library)] public static extern int c2t_close(IntPtr service);
    [DllImport(Library)] public static extern int c2t_request_new(out IntPtr request);
    [DllImport(Library)] public static extern int c2t_request_add_cell(IntPtr request, byte[] id);
    [DllImport(Library)] public static extern int c2t_request_add_gene(IntPtr request, byte[] gene, double count);
    [DllImport(Library)] public static extern void c2t_request_free(IntPtr request);
    [DllImport(Library)] public static extern int c2t_describe(IntPtr service, IntPtr request, Stream stream, IntPtr user, out IntPtr result);
    [DllImport(Library)] public static extern UIntPtr c2t_result_cells(IntPtr result);
    [DllImport(Library)] public static extern IntPtr c2t_result_id(IntPtr result, UIntPtr cell);
    [DllImport(Library)] public static extern IntPtr c2t_result_text(IntPtr result, UIntPtr cell);
    [DllImport(Library)] public static extern IntPtr c2t_result_error(IntPtr result, UIntPtr cell);
    [DllImport(Library)] public static extern void c2t_result_free(IntPtr result);

    // Text is UTF-8 that ends with 0, both ways.
    public static byte[] Bytes(string text) { return Encoding.UTF8.GetBytes(text + "\0"); }

    public static string Text(IntPtr text)
    {
        if (text == IntPtr.Zero) return null;
        int size = 0;
        while (Marshal.ReadByte(text, size) != 0) size++;
        byte[] bytes = new byte[size];
        Marshal.Copy(text, bytes, 0, size);
        return Encoding.UTF8.GetString(bytes);
    }

    public static void Check(int code)
    {
        if (code != 0) throw new Exception(Text(c2t_last_problem()) + "\nhint: " + Text(c2t_last_hint()));
    }
}

static class Describe
{
    const int Abi = 1;

    static int Show(IntPtr user, UIntPtr cell, UIntPtr changedFrom, IntPtr text, int finished)
    {
        Console.Error.WriteLine(cell + (finished != 0 ? ". " : ": ") + (C2t.Text(text) ?? "(no text)"));
        return 0;
    }

    static int Main(string[] arguments)
    {
        try
        {
            Run(arguments[0], arguments[1], arguments[2]);
            return 0;
        }
        catch (Exception error)
        {
            Console.Error.WriteLine("error: " + error.Message);
            return 1;
        }
    }

    static void Run(string kind, string path, string table)
    {
        if (C2t.c2t_abi_version() != Abi) throw new Exception("libc2t is of another version than this example");
        IntPtr options, service, request, result;
        C2t.Check(C2t.c2t_options_new(out options));
        C2t.Check(C2t.c2t_options_set(options, C2t.Bytes(kind), C2t.Bytes(path)));
        string command = Environment.GetEnvironmentVariable("C2T_COMMAND"); // where c2t is not in PATH
        if (command != null) C2t.Check(C2t.c2t_options_set(options, C2t.Bytes("command"), C2t.Bytes(command)));
        C2t.Check(C2t.c2t_open(options, out service));

        C2t.Check(C2t.c2t_request_new(out request));
        string last = null;
        foreach (string line in File.ReadLines(table))
        {
            string[] parts = line.Split('\t');
            if (parts[0] != last) C2t.Check(C2t.c2t_request_add_cell(request, C2t.Bytes(parts[0])));
            last = parts[0];
            double count = double.Parse(parts[2], CultureInfo.InvariantCulture);
            C2t.Check(C2t.c2t_request_add_gene(request, C2t.Bytes(parts[1]), count));
        }

        C2t.Stream show = Show;
        C2t.Check(C2t.c2t_describe(service, request, show, IntPtr.Zero, out result));
        GC.KeepAlive(show);
        using (Stream output = Console.OpenStandardOutput())
        {
            for (uint cell = 0; cell < (uint)C2t.c2t_result_cells(result); cell++)
            {
                UIntPtr place = new UIntPtr(cell);
                string text = C2t.Text(C2t.c2t_result_text(result, place)) ?? C2t.Text(C2t.c2t_result_error(result, place));
                byte[] words = Encoding.UTF8.GetBytes(C2t.Text(C2t.c2t_result_id(result, place)) + "\t" + text + "\n");
                output.Write(words, 0, words.Length);
            }
        }
        C2t.c2t_result_free(result);
        C2t.c2t_request_free(request);
        C2t.c2t_options_free(options);
        C2t.Check(C2t.c2t_close(service));
    }
}
